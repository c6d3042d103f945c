//! Every recipe of docs/rules.md is a config whose own tests pass.

use crate::harness::House;

#[test]
fn every_recipe_of_the_rules_guide_does_what_its_tests_say() {
    let root = env!("CARGO_MANIFEST_DIR");
    let guide = std::fs::read_to_string(format!("{root}/docs/rules.md")).unwrap();
    let recipes: Vec<&str> = guide.split("\n## ").skip(1).filter(|part| part.contains("```toml")).collect();
    assert_eq!(recipes.len(), 10);
    let house = House::new("");
    std::os::unix::fs::symlink(format!("{root}/tests/fixtures/interakt"), house.path("interakt")).unwrap();
    let mut failures = String::new();
    for recipe in recipes {
        let title = recipe.lines().next().unwrap();
        let toml = recipe.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert!(toml.contains("[[tests]]"), "{title} has no test");
        house.configure(toml);
        let output = house.command(&["test"]).output().unwrap();
        if !output.status.success() {
            let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            failures += &format!("{title}\n{}{}\n", printed[0], printed[1]);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
