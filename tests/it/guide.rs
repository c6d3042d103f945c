//! Every recipe of docs/rules.md is a config whose own tests pass, and its table of the daemon's own events is whole.
//! Blocks and figures of docs/operating.md; its commands run in a booted Debian (tests/boot/guide.rs).

use hookrelay::news::{ALWAYS, Kind};

use crate::bodies::fixtures;
use crate::harness::{House, post_all};

#[test]
fn every_recipe_of_the_rules_guide_does_what_its_tests_say() {
    let root = env!("CARGO_MANIFEST_DIR");
    let guide = std::fs::read_to_string(format!("{root}/docs/rules.md")).unwrap();
    let recipes: Vec<&str> = guide.split("\n## ").skip(1).filter(|part| part.contains("```toml")).collect();
    assert_eq!(recipes.len(), 13);
    let house = House::new("");
    std::os::unix::fs::symlink(format!("{root}/tests/fixtures/interakt"), house.path("interakt")).unwrap();
    let mut failures = String::new();
    for recipe in recipes {
        let title = recipe.lines().next().unwrap();
        let toml = recipe.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert!(toml.contains("[[tests]]"), "{title} has no test");
        house.configure(toml);
        let output = house.command(&["test"]).env("PAGERDUTY_ROUTING_KEY", "a-routing-key").output().unwrap();
        if !output.status.success() {
            let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            failures += &format!("{title}\n{}{}\n", printed[0], printed[1]);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// The first block of docs/operating.md in this language that holds this text.
pub fn block(language: &str, text: &str) -> String {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let blocks = guide.split("```").skip(1).step_by(2);
    let mut bodies = blocks.filter_map(|block| block.strip_prefix(language)?.split_once('\n')).map(|(_, body)| body);
    bodies.find(|body| body.contains(text)).unwrap_or_else(|| panic!("no {language} block has {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_takes_what_the_operators_guide_says_in_the_journal() {
    let house = House::new("");
    let daemon = house.start();
    let bodies: Vec<Vec<u8>> = fixtures().into_iter().map(|(_, body)| body).collect();
    let (events, bytes) = (bodies.len(), bodies.iter().map(Vec::len).sum::<usize>());
    post_all(&daemon.url(), bodies).await;
    assert_eq!(daemon.terminate(), 0);
    let files = std::fs::read_dir(house.path("data/journal")).unwrap().map(|entry| entry.unwrap());
    let segments = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "segment"));
    let journal: u64 = segments.map(|file| file.metadata().unwrap().len()).sum();
    let more = (usize::try_from(journal).unwrap() - bytes) / events;
    println!("{events} events, {} bytes of body each, {more} more in the journal", bytes / events);
    // Besides its body half a kilobyte; and a body of Interakt's has 1.5 KB.
    assert!((256..=512).contains(&more) && (1300..1700).contains(&(bytes / events)), "{more}, {}", bytes / events);
    // So its table is what its formula gives: seven days and one, and two segments.
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let rows = guide.lines().skip_while(|line| !line.starts_with("| events a day |")).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 4, "the table was not found");
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let number = |cell: &str| cell.split(' ').next().unwrap().replace(',', "").parse::<f64>().unwrap();
        let journal = (number(cells[1]) * 8.0 * 2050.0 + 2.0 * 67e6) / 1e9;
        assert!((number(cells[2]) / journal - 1.0).abs() < 0.05, "{row}: {journal:.1} GB");
    }
}

#[test]
fn the_guides_table_of_the_daemons_own_events_is_the_list_in_the_code() {
    let guide = std::fs::read_to_string(format!("{}/docs/rules.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, part) = guide.split_once("## The daemon's own events").unwrap();
    let rows: Vec<Vec<&str>> = part
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .collect();
    let shown: Vec<[String; 3]> = rows.iter().map(|row| [row[1], row[3], row[4]].map(str::to_owned)).collect();
    let code = |word: &&str| format!("`{word}`");
    let listed: Vec<[String; 3]> = Kind::ALL
        .iter()
        .map(|kind| {
            let fields = kind.fields().iter().map(code).collect::<Vec<_>>().join(", ");
            [code(&kind.name()), kind.subject().to_owned(), fields]
        })
        .collect();
    assert_eq!(shown, listed);
    for always in ALWAYS {
        assert!(part.contains(&code(&always)), "{always}");
    }
}
