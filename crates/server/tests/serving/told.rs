//! What the server tells of itself and its project.

use serde_json::{Value, json};

use crate::project::{Served, limits};

#[test]
fn health_and_readiness() {
    let served = Served::start(limits());
    assert_eq!(served.get("/healthz").body, r#"{"status":"alive"}"#);
    assert_eq!(served.get("/readyz").body, r#"{"status":"ready"}"#);
    let waiting = Served::empty(limits());
    assert_eq!(waiting.get("/healthz").status, 200);
    let answer = waiting.get("/readyz");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(
        answer.json()["error"]["message"],
        "not ready: files are read and brought into the order of event time \
         (payments: 0 % read, 0 rows taken in; odd \"name: 0 % read, 0 rows taken in)"
    );
}

#[test]
fn objects_are_told_with_their_state() {
    let served = Served::start(limits());
    let all = served.get("/v1/objects").json();
    assert_eq!(all["clock"], "event");
    assert_eq!(all["now"], "2026-01-01T11:30:00.000001Z");
    assert_eq!((&all["phase"], &all["ready"]), (&json!("done"), &json!(true)));
    let names: Vec<&str> = all["objects"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["payments", "odd \"name", "activity", "odd view", "pay_v1", "pair_v1", "echo_v1", "text_v1"]);
    let one = |name: &str| served.get(&format!("/v1/objects/{name}")).json();
    for (place, name) in names.iter().enumerate() {
        assert_eq!(one(&name.replace(' ', "%20").replace('"', "%22")), all["objects"][place], "{name}");
    }
}

#[test]
fn a_stream_tells_what_became_of_its_events() {
    let served = Served::start(limits());
    let mut stream = served.get("/v1/objects/payments").json();
    let replay = stream["replay"].take();
    assert_eq!(replay["started_at"], "2026-01-01T12:00:00.000000Z");
    assert_eq!(replay["rows"], 5);
    assert_eq!(replay["bytes"], replay["bytes_read"]);
    assert_eq!(
        stream,
        json!({
            "kind": "stream", "name": "payments", "reads": [],
            "columns": [
                {"name": "id", "type": "BIGINT", "not_null": true}, {"name": "account", "type": "VARCHAR", "not_null": false},
                {"name": "amount", "type": "BIGINT", "not_null": false}, {"name": "ts", "type": "TIMESTAMP", "not_null": true},
            ],
            "primary_key": ["id"], "time_column": "ts", "timestamp_unit": null, "lateness_ms": 60_000,
            "source": {"connector": "file", "path": "payments.jsonl", "format": "jsonl", "rate": "max"},
            "absent_columns": [], "position": [5], "watermark": "2026-01-01T10:59:00.000000Z", "newest_event": "2026-01-01T11:00:00.000000Z",
            "arrival_lag_ms": null,
            "counts": {"in": 5, "used": 3, "late": 0, "duplicate": 1,
                "rejected": {"unreadable": 1, "not_null": 0, "check": 0, "future": 0}},
            "reasons": [{"name": "unreadable", "count": 1, "offset": 4,
                "detail": "column `id`: expected BIGINT, found text `four`"}],
            "replay": null,
        })
    );
}

#[test]
fn views_and_services_come_with_examples_that_work() {
    let served = Served::start(limits());
    let view = served.get("/v1/objects/activity").json();
    assert_eq!(view["key"], json!([{"name": "account", "type": "VARCHAR"}]));
    assert_eq!((&view["entities"], &view["set_aside"]), (&json!(2), &json!(0)));
    assert_eq!(view["features"][1], json!({"name": "total", "type": "BIGINT", "sql": "sum(amount) OVER h"}));
    assert_eq!(view["example_key"], json!({"account": "bob"}));
    let service = served.get("/v1/objects/pair_v1").json();
    assert_eq!(service["reads"], json!(["activity", "odd view"]));
    assert_eq!(service["example_request"], json!({"source": "bob", "target": "bob", "k": 1}));
    assert_eq!(asof_server::example_request(&served.engine, 1), service["example_request"]);
    let body = json!({"rows": [service["example_request"]]}).to_string();
    assert_eq!(served.post("/v1/services/pair_v1/features", body).json()["rows"], json!([[1, 1, 1]]));
    let empty = Served::empty(limits());
    assert_eq!(empty.get("/v1/objects/activity").json()["example_key"], json!({"account": null}));
}

#[test]
fn metrics_count_every_event() {
    let served = Served::start(limits());
    assert_eq!(served.post("/v1/views/activity/features", r#"{"rows":[{"account":"a"},{"account":"b"}]}"#).status, 200);
    assert_eq!(served.get("/nope").status, 404);
    let mut answer = served.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    // The connections of the calls before may be on their way out still.
    while !answer.body.lines().any(|found| found == "asof_connections 1") {
        answer = served.get("/metrics");
    }
    for line in [
        r#"asof_stream_events_total{stream="payments",verdict="used"} 3"#,
        r#"asof_stream_events_total{stream="payments",verdict="duplicate"} 1"#,
        r#"asof_stream_events_total{stream="payments",verdict="unreadable"} 1"#,
        r#"asof_stream_events_total{stream="payments",verdict="late"} 0"#,
        r#"asof_stream_watermark_timestamp_seconds{stream="payments"} 1767265140"#,
        r#"asof_view_entities{view="activity"} 2"#,
        r#"asof_view_set_aside_total{view="activity"} 0"#,
        r#"asof_http_requests_total{route="unknown",status="404"} 1"#,
        r#"asof_http_request_duration_seconds_count{route="/v1/views/{view}/features"} 1"#,
        r#"asof_http_request_duration_seconds_bucket{route="/v1/views/{view}/features",le="+Inf"} 1"#,
        "asof_feature_rows_total 2",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} is not in\n{}", answer.body);
    }
    assert!(answer.body.contains("asof_process_resident_memory_bytes "));
}

/// Every path of the document is a call, and its example is answered.
#[test]
fn the_document_describes_the_project() {
    let served = Served::start(limits());
    let document = served.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 4 + 2 + 7);
    for (path, call) in paths {
        if let Some(post) = call.get("post") {
            let body = &post["requestBody"]["content"]["application/json"]["example"];
            let answer = served.post(path, body.to_string());
            let shape = &post["responses"]["200"]["content"]["application/json"]["schema"];
            assert_eq!(
                (answer.status, &answer.json()["columns"]),
                (200, &shape["properties"]["columns"]["const"]),
                "{path}"
            );
        } else {
            assert_eq!(served.get(&path.replace("{name}", "activity")).status, 200, "{path}");
        }
    }
    let request =
        &paths["/v1/services/pay_v1/features"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let row = &request["properties"]["rows"]["items"];
    assert_eq!(row["required"], json!(["account", "amount", "parts"]));
    assert_eq!(row["properties"]["amount"]["type"], json!(["integer", "null"]));
    assert_eq!(row["additionalProperties"], Value::Bool(false));
}

#[test]
fn the_page_may_use_only_what_stands_in_it() {
    let answer = Served::empty(limits()).get("/");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(answer.body.starts_with("<!doctype html>"), "{}", answer.body.get(..80).unwrap_or_default());
}
