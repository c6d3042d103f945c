#!/bin/sh
# A hookrelay sink in shell: appends each line it is handed to the file named by OUT. Started by `kind = "exec"`.
: "${OUT:?is not set: the table of the sink needs env.OUT = \"mine.jsonl\"}"
while IFS= read -r line; do
    # The id as it stands in the line, escapes included: the members of a line keep their order.
    id=${line#*'"id":"'}
    id=${id%%'","source":"'*}
    if printf '%s\n' "$line" >>"$OUT"; then
        printf '{"id":"%s","outcome":"delivered"}\n' "$id"
    else
        printf '{"id":"%s","outcome":"retry","after":5,"code":"io","detail":"cannot write"}\n' "$id"
    fi
done
