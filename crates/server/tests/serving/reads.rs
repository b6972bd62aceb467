//! Features of services and views, as of now and of then.

use asof_connect::parse_timestamp;

use crate::project::{Served, limits};

const SHARED: &str = r#""position":{"payments":[5]},"streams":{"payments":{"watermark":"2026-01-01T10:59:00.000000Z","newest_event":"2026-01-01T11:00:00.000000Z","arrival_lag_ms":null}}}"#;

fn check(served: &Served, path: &str, body: &str, expected: &str) {
    let answer = served.post(path, body);
    assert_eq!(answer.body, expected.replace("$SHARED", SHARED), "{body}");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
}

#[test]
fn a_view_answers_as_of_now_and_of_then() {
    let served = Served::start(limits());
    let path = "/v1/views/activity/features";
    // The newest event of all streams is half an hour after the last payment.
    check(
        &served,
        path,
        r#"{"rows":[{"account":"ann"},{"account":"bob"},{"account":"eve"},{"account":null}]}"#,
        r#"{"view":"activity","as_of":"2026-01-01T11:30:00.000001Z","columns":["n","total","newest"],"rows":[[0,null,[100,50]],[1,7,[7]],[0,null,null],[0,null,null]],"known":{"activity":[true,true,false,false]},$SHARED"#,
    );
    for as_of in
        [r#""2026-01-01T10:30:00Z""#, r#""2026-01-01 11:30:00+01:00""#, r#""2026-01-01T10:30:00""#, "1767263400000000"]
    {
        check(
            &served,
            path,
            &format!(r#"{{"as_of":{as_of},"rows":[{{"account":"ann"}}]}}"#),
            r#"{"view":"activity","as_of":"2026-01-01T10:30:00.000000Z","columns":["n","total","newest"],"rows":[[2,150,[100,50]]],"known":{"activity":[true]},$SHARED"#,
        );
    }
    check(
        &served,
        path,
        r#"{"rows":[],"as_of":null}"#,
        r#"{"view":"activity","as_of":"2026-01-01T11:30:00.000001Z","columns":["n","total","newest"],"rows":[],"known":{"activity":[]},$SHARED"#,
    );
    check(
        &served,
        path,
        r#"{"rows":[{"account":"ann"}],"as_of":"9999-12-31T23:59:59.999999Z"}"#,
        r#"{"view":"activity","as_of":"9999-12-31T23:59:59.999999Z","columns":["n","total","newest"],"rows":[[0,null,[100,50]]],"known":{"activity":[true]},$SHARED"#,
    );
}

#[test]
fn a_service_answers_its_vector() {
    let served = Served::start(limits());
    check(
        &served,
        "/v1/services/pay_v1/features",
        r#"{"rows":[{"account":"ann","amount":9,"parts":2},{"parts":null,"amount":1,"account":"bob"}],"as_of":"2026-01-01T11:00:00Z"}"#,
        r#"{"service":"pay_v1","as_of":"2026-01-01T11:00:00.000000Z","columns":["n","total","share"],"rows":[[2,150,4],[1,7,null]],"known":{"activity":[true,true]},$SHARED"#,
    );
    assert_eq!((served.traffic.reads(), served.traffic.rows()), (1, 2));
}

/// A view joined twice is told apart by its aliases, and names that need escapes have them.
#[test]
fn joins_of_one_view_are_told_apart() {
    let served = Served::start(limits());
    let answer = served.post("/v1/services/pair_v1/features", r#"{"rows":[{"source":"ann","target":"bob","k":1}]}"#);
    let json = answer.json();
    assert_eq!(json["rows"], serde_json::json!([[0, 1, 1]]));
    assert_eq!(json["known"], serde_json::json!({"s": [true], "d": [true], "odd view": [true]}));
    assert_eq!(json["position"], serde_json::json!({"payments": [5], "odd \"name": [1]}));
    let answer = served.post("/v1/views/odd%20view/features", r#"{"rows":[{"k":1},{"k":2}]}"#);
    assert_eq!(answer.json()["rows"], serde_json::json!([[1], [0]]));
}

/// Nothing is known yet: answers are those of entities never seen, and the event clock stands at 1970.
#[test]
fn before_the_first_event_reads_are_empty() {
    let served = Served::empty(limits());
    let answer = served.post("/v1/views/activity/features", r#"{"rows":[{"account":"ann"}]}"#);
    assert_eq!(
        answer.body,
        r#"{"view":"activity","as_of":"1970-01-01T00:00:00.000000Z","columns":["n","total","newest"],"rows":[[0,null,null]],"known":{"activity":[false]},"position":{"payments":[0]},"streams":{"payments":{"watermark":null,"newest_event":null,"arrival_lag_ms":null}}}"#
    );
    assert_eq!(served.get("/readyz").status, 503);
}

/// A big call goes another way than a small one and answers the same.
#[test]
fn big_calls_answer_like_small_ones() {
    let served = Served::start(limits());
    let rows = vec![r#"{"account":"bob"}"#; 10_000].join(",");
    let answer = served.post("/v1/views/activity/features", format!(r#"{{"rows":[{rows}]}}"#)).json();
    let rows = answer["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 10_000);
    assert!(rows.iter().all(|row| *row == serde_json::json!([1, 7, [7]])));
    assert_eq!(answer["known"]["activity"].as_array().unwrap().len(), 10_000);
}

#[test]
fn many_clients_are_answered_side_by_side() {
    let served = Served::start(limits());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = served.client();
                for _ in 0..200 {
                    let answer = client.send("POST", "/v1/views/activity/features", br#"{"rows":[{"account":"bob"}]}"#);
                    assert_eq!(answer.json()["rows"], serde_json::json!([[1, 7, [7]]]));
                }
            });
        }
    });
    assert_eq!(served.traffic.reads(), 1_600);
    let metrics = served.get("/metrics").body;
    let counted = r#"asof_http_requests_total{route="/v1/views/{view}/features",status="200"} 1600"#;
    assert!(metrics.contains(counted), "{metrics}");
    served.wait_until(|served| served.traffic.connections() == 0);
}

#[test]
fn instants_of_the_tests_are_what_they_say() {
    assert_eq!(parse_timestamp("2026-01-01T10:30:00Z"), Some(1_767_263_400_000_000));
}
