//! Bad tables of a journal on Kafka.

use super::*;

pub(super) const BAD: &[Bad] = &[
    Bad(
        "[journal]\nkind = \"kafka\"\nnode = \"a b\"\npartitions = 0\n",
        &[
            "3:8: error: [journal] `kind`: a journal on Kafka needs `brokers`",
            "help: brokers = [",
            "4:8: error: [journal] `node` is no name, expected 1 to 64 letters",
            "5:14: error: [journal] `partitions` is out of bounds, expected 1 to 1024",
        ],
    ),
    Bad(
        "[journal]\nkind = \"kafka\"\nbrokers = \"k:9092/x\"\n\
         properties = { acks = 1, \"compression.typ\" = \"lz4\" }\n",
        &[
            "4:11: error: [journal] `brokers`: `k:9092/x` is no address",
            "property `acks` is the journal's own",
            "property `compression.typ` is not known to librdkafka",
            "help: did you mean `compression.type`?",
        ],
    ),
    Bad(
        "[journal]\nbrokers = [\"k:9092\"]\nflush = false\n",
        &[
            "3:11: error: [journal] `brokers` belongs to a journal on Kafka",
            "help: kind = \"kafka\"",
            "4:9: error: [journal] `flush` belongs to a journal on Kafka",
        ],
    ),
    Bad(
        "[server]\nmax_body = \"12MiB\"\n[journal]\nkind = \"kafka\"\nbrokers = [\"k:9092\"]\n",
        &["3:12: error: `max_body` of [server] is more than a journal on Kafka takes, at most 11MiB"],
    ),
];
