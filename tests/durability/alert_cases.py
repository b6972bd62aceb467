"""For each alert of deploy/prometheus/asof.rules.yml: series on which it fires after an hour, and series on which it must not.

Series are written as promtool writes them, one value a minute from 0 on: `0+60x90` goes up by 60 a minute for 90 minutes,
`5x90` stays at 5. The instants of Prometheus begin at 0 too, so `0x90` is an event that grows old, `0+60x90` one of now.
"""

from dataclasses import dataclass

OF_STREAM = '{job="asof",instance="a:6566",stream="s"}'
OF_SERVER = '{job="asof",instance="a:6566"}'
MINUTES = 60
NOW, NEVER_MOVES = "0+60x90", "0x90"


@dataclass
class Case:
    """Series by name; a name without labels gets those of a server."""

    fires: dict
    quiet: list  # of dicts
    also: dict | None = None  # fires by itself, too


def events(verdict, rate):
    """Counted events of a verdict, so many a minute."""
    return {f'asof_stream_events_total{{job="asof",instance="a:6566",stream="s",verdict="{verdict}"}}': f"0+{rate}x90"}


def refused(reason, values):
    return {f'asof_ingest_refused_total{{job="asof",instance="a:6566",reason="{reason}"}}': values}


def durations(name, route, fast, slow):
    """A histogram with so many observations a minute below 10 ms, and so many between 1 s and 5 s."""
    labels = f'job="asof",instance="a:6566"{route}'
    counts = {"0.01": fast, "1": fast, "5": fast + slow, "+Inf": fast + slow}
    return {f'{name}_bucket{{{labels},le="{le}"}}': f"0+{count}x90" for le, count in counts.items()}


def lag(values, partition=0):
    return {f'asof_kafka_lag_messages{{job="asof",instance="a:6566",stream="s",partition="{partition}"}}': values}


def held_back(values, next_offset, partition=0):
    labels = f'{{job="asof",instance="a:6566",stream="s",partition="{partition}"}}'
    return {f"asof_kafka_held_back_offsets{labels}": values, f"asof_kafka_next_offset{labels}": next_offset}


NEWEST, WATERMARK = (f"asof_stream_{name}_timestamp_seconds{OF_STREAM}" for name in ("newest_event", "watermark"))
SET_ASIDE = 'asof_view_set_aside_total{job="asof",instance="a:6566",view="v"}'
DELAY, SYNC, READS = "asof_ingest_visibility_delay_seconds", "asof_log_sync_seconds", "asof_http_request_duration_seconds"
OF_TOPICS = ("in_trouble", "unreadable_schemas", "stopped_partitions", "lost_messages_total")
IN_TROUBLE, UNREADABLE, STOPPED, LOST = (f"asof_kafka_{name}{OF_STREAM}" for name in OF_TOPICS)
SINK = 'asof_sink_in_trouble{job="asof",instance="a:6566",sink="large"}'
READ_ROUTE = ',route="/v1/services/{service}/features"'
EVENT_ROUTE = ',route="/v1/streams/{stream}/events"'

CASES = {
    "AsofStreamStale": Case({NEWEST: NEVER_MOVES}, [{NEWEST: NOW}]),
    "AsofWatermarkBehind": Case(
        {WATERMARK: NEVER_MOVES, **events("used", 60)},
        [
            {WATERMARK: NOW, **events("used", 60)},
            {WATERMARK: NEVER_MOVES, **events("used", 0)},  # nothing arrives: stale, not behind
        ],
    ),
    "AsofArrivalLag": Case(
        {f"asof_stream_arrival_lag_seconds{OF_STREAM}": "900x90"}, [{f"asof_stream_arrival_lag_seconds{OF_STREAM}": "0.2x90"}]
    ),
    "AsofLateShare": Case(
        {**events("used", 95), **events("late", 5)},
        [
            {**events("used", 995), **events("late", 5)},
            {**events("used", 95), **events("check", 5)},
            {**events("used", 0), **events("late", 0)},  # no events: no share
        ],
    ),
    "AsofRejectedShare": Case(
        {**events("used", 97), **events("check", 1), **events("future", 1), **events("unreadable", 1)},
        [{**events("used", 997), **events("not_null", 3)}, {**events("used", 95), **events("late", 5)}],
    ),
    "AsofEventsSetAside": Case({SET_ASIDE: "0+1x90"}, [{SET_ASIDE: "7x90"}]),
    "AsofKafkaLagGrows": Case(
        lag("0+250x90") | lag("20000-5x90", partition=1),
        [lag("200000-1000x90"), lag("9000x90"), lag("0x90")],
        also=lag("20000x90"),  # it stands still
    ),
    "AsofKafkaTrouble": Case({IN_TROUBLE: "0x50 1x40"}, [{IN_TROUBLE: "0x90"}, {IN_TROUBLE: "0x59 1x31"}]),
    "AsofSinkTrouble": Case({SINK: "0x50 1x40"}, [{SINK: "0x90"}, {SINK: "0x59 1x31"}]),
    "AsofKafkaUnreadableSchema": Case(
        {UNREADABLE: "0x50 1x40", **events("unreadable", 1)},
        [
            {UNREADABLE: "0x90", **events("unreadable", 5)},  # messages that are damaged
            {UNREADABLE: "1x90", **events("unreadable", 0)},  # the producer was mended
        ],
    ),
    "AsofKafkaHeldBack": Case(
        held_back("0x50 21x40", "300x90") | held_back("0x90", "0+100x90", partition=1),
        [
            held_back("5x90", "0+100x90"),  # one transaction after the other
            held_back("0x90", "300x90"),  # nothing comes
            held_back("0x59 21x31", "300x90"),
        ],
    ),
    "AsofKafkaStopped": Case({STOPPED: "0x59 1x31"}, [{STOPPED: "0x90"}]),
    "AsofKafkaMessagesLost": Case(
        {LOST: "_x30 55x60"},  # as it is first seen after a start
        [{LOST: "0x90"}, {LOST: "55x90"}],
        also={LOST: "0x30 55x60"},
    ),
    "AsofIngestStopped": Case(refused("disk", "0+1x90"), [refused("disk", "9x90"), refused("queue", "0+100x90")]),
    "AsofIngestRefused": Case(
        refused("state", "0+1x90"),
        [refused("queue", "9x90"), refused("broken", "0+1x90")],
        also=refused("generation", "0+1x90"),
    ),
    "AsofVisibilityDelay": Case(durations(DELAY, "", 900, 100), [durations(DELAY, "", 1000, 1)]),
    "AsofLogSyncSlow": Case(durations(SYNC, "", 900, 100), [durations(SYNC, "", 1000, 1)]),
    "AsofStateNearLimit": Case(
        {"asof_state_bytes": "90x90", "asof_state_limit_bytes": "100x90"},
        [{"asof_state_bytes": "50x90", "asof_state_limit_bytes": "100x90"}],
    ),
    "AsofStateGrowing": Case(
        {"asof_state_bytes": "0+1x90", "asof_state_limit_bytes": "200x90"},
        [{"asof_state_bytes": "40x90", "asof_state_limit_bytes": "200x90"}],
    ),
    "AsofCheckpointOld": Case({"asof_checkpoint_age_seconds": "1000x90"}, [{"asof_checkpoint_age_seconds": "30x90"}]),
    "AsofCheckpointFailing": Case({"asof_checkpoint_failures_total": "0x50 1x40"}, [{"asof_checkpoint_failures_total": "3x90"}]),
    "AsofDown": Case({"up": "1x30 0x60"}, [{"up": "1x90"}]),
    "AsofReadsSlow": Case(
        durations(READS, READ_ROUTE, 900, 100),
        [durations(READS, READ_ROUTE, 1000, 1), durations(READS, EVENT_ROUTE, 900, 100)],
    ),
}


def unit_tests(rules):
    """What `promtool test rules` reads; JSON is YAML."""
    tests = []
    for alert, case in CASES.items():
        for fires in filter(None, [case.fires, case.also]):
            tests.append(unit_test(alert, fires, [{"labels": "{}", "value": 1}]))
        tests.extend(unit_test(alert, quiet, []) for quiet in case.quiet)
    return {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}


def unit_test(alert, series, expected):
    named = {name if "{" in name else name + OF_SERVER: values for name, values in series.items()}
    fires = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in named.items()],
        "promql_expr_test": [{"expr": fires, "eval_time": f"{MINUTES}m", "exp_samples": expected}],
    }
