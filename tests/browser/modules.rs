//! The page's modules that compute something, each asked in the browser that runs them.

use serde_json::json;

use crate::watched::{TOKEN, watched};

#[tokio::test(flavor = "multi_thread")]
async fn texts_differences_and_times_are_what_they_should_be() {
    let Some((_watched, page)) = watched("modules").await else { return };
    page.sign_in(TOKEN).await;
    let of = async |module: &str, expression: &str| {
        page.await_of(&format!("import('/page/{module}.js').then((it) => {expression})")).await
    };
    // JSON is found and indented as text: numbers, escapes and the order of keys stay.
    let text = json!(r#"{"b": [1, {"\u0063,]": 12345678901234567890.10, "d": "}\"]"}], "a": {}, "e": []}"#);
    let paths = json!([["b", 1, "c,]"], ["b", 1, "d"], ["a"], ["b", 2], ["a", "b", "c"]]);
    let found = of("json", &format!("{paths}.map((path) => it.valueAt({text}, path))")).await;
    assert_eq!(found, json!(["12345678901234567890.10", r#""}\"]""#, "{}", null, null]));
    let pretty = r#"{
  "b": [
    1,
    {
      "\u0063,]": 12345678901234567890.10,
      "d": "}\"]"
    }
  ],
  "a": {},
  "e": []
}"#;
    assert_eq!(of("json", &format!("it.pretty({text})")).await, pretty);
    // Differences by line, with what stands around them.
    let lines = (1..=20).map(|n| n.to_string()).collect::<Vec<_>>();
    let mut other = lines.clone();
    other[9] = "ten".to_owned();
    let both = format!("{}, {}", json!(lines.join("\n")), json!(other.join("\n")));
    let signs = of("diff", &format!("it.differences({both}).map(({{ sign, text }}) => sign + text).join('|')")).await;
    assert_eq!(signs, "…6 lines as they are| 7| 8| 9|-10|+ten| 11| 12| 13|…7 lines as they are");
    assert_eq!(of("diff", "it.differences('a\\nb', 'a\\nb').length").await, 0);
    // A replay of one event ends a microsecond behind it.
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000009Z", "2026-12-31T23:59:59.999999Z"];
    let after = of("acts", &format!("{}.map(it.justAfter)", json!(times))).await;
    assert_eq!(
        after,
        json!(["2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00.000010Z", "2027-01-01T00:00:00.000Z"])
    );
    let spans = of("format", "[0.0004, 0.25, 3.14, 75, 600, 90000, 864000].map(it.span)").await;
    assert_eq!(spans, json!(["400 µs", "250 ms", "3.1 s", "75 s", "10 min", "25 h", "10 d"]));
    // A phone is looked for in parts: what a later one says of a message counts, and one message is shown as such.
    let parts = json!([
        { "events": [1], "message": { "id": "m", "status": "Sent" }, "messages": [], "notes": ["a"], "next": "x" },
        { "events": [], "message": null, "messages": [], "next": "y" },
        { "events": [2], "message": { "id": "m", "status": "Read" }, "notes": ["a"], "next": null },
    ]);
    let one = json!({ "events": [1, 2], "message": { "id": "m", "status": "Read" }, "messages": [], "notes": ["a"],
                      "next": null });
    assert_eq!(of("messages", &format!("it.merged({parts})")).await, one);
    let became = json!([{ "outcome": "delivered" }, { "outcome": "dead", "code": "http_4xx" }, { "outcome": "dead" }]);
    let words = of("acts", &format!("it.outcomeWords({became})")).await;
    assert_eq!(words, "1 delivered, 2 died again (http_4xx)");
    // How far a sink is moved on is always chosen, never what an empty field means.
    let ways = json!([{}, { "how": "time" }, { "how": "time", "to": "noon" }, { "how": "time", "to": "1h" },
                      { "how": "end" }]);
    let wrong = of("acts", &format!("{ways}.map((way) => it.wrongWay(way) !== '')")).await;
    assert_eq!(wrong, json!([true, true, true, false, false]));
    let routes = of(
        "rules",
        "it.routesOf('[sinks.a]\\nb = 1\\n[[routes]]\\nto = \"a\"\\n[[tests]]\\nc = 1\\n[[routes]]\\nto = \"b\"\\n')",
    )
    .await;
    assert_eq!(routes, "[[routes]]\nto = \"a\"\n[[routes]]\nto = \"b\"\n");
}
