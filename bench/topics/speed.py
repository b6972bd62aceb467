"""One topic, read from its beginning by each contender in turn: what an event costs.

Each contender also reads a topic without any event. That is its start: a JVM, a query planned and compiled, some ten seconds of
CPU time or more. It is shown, and taken off in the columns `without start`, so that what is left is the events' own.
"""

from dataclasses import dataclass

from measure import Result, race
from serving.machine import write_results
from topics import messages, projects
from topics.asof_reader import AsofReader
from topics.flink_reader import FlinkReader

EVENTS, NONE = "events", "nothing"
TEN = "ten features at every event"
ALONE = "read and parsed, no features"
FLINK = {  # by kind of work: name, form, state
    TEN: [("Flink, heap", "nested", "hashmap"), ("Flink, three queries, heap", "statement_set", "hashmap"),
          ("Flink, RocksDB", "nested", "rocksdb")],
    ALONE: [("Flink", "stream_alone", "hashmap")],
}
PROJECTS = {TEN: projects.features, ALONE: projects.stream_alone}


@dataclass
class Figures:
    """One contender: its runs over the events and over none."""

    events: int
    whole: Result
    start: Result

    def cpu_us(self):
        """CPU time of an event, the start's share included: seconds per million events."""
        return self.whole.cpu_s() / self.events * 1e6

    def own_cpu_us(self):
        return (self.whole.cpu_s() - self.start.cpu_s()) / self.events * 1e6

    def told(self, asof):
        """For the file of results; `asof` are Asof's own, of the same kind of work."""
        walls = [run.wall_s for run in self.whole.runs]
        return {
            "events": self.events, "runs": len(walls), "wall_s": round(self.whole.wall_s(), 3),
            "wall_s_from_to": [round(min(walls), 3), round(max(walls), 3)], "events_per_s": round(self.events / self.whole.wall_s()),
            "cpu_s": round(self.whole.cpu_s(), 2), "cpu_s_per_million": round(self.cpu_us(), 2),
            "times_asof": round(self.cpu_us() / asof.cpu_us(), 1),
            "start_wall_s": round(self.start.wall_s(), 3), "start_cpu_s": round(self.start.cpu_s(), 2),
            "cpu_s_per_million_without_start": round(self.own_cpu_us(), 2),
            "times_asof_without_start": round(self.own_cpu_us() / asof.own_cpu_us(), 1),
            "peak_mib": round(self.whole.peak_mib()),
        }


def compared(options, cluster, _):
    messages.write(cluster, EVENTS, messages.transactions(options.events))
    messages.write(cluster, NONE, None)
    results = {}
    for work in (TEN, ALONE):
        wholes = contenders(options, cluster.bootstrap, work, EVENTS, options.events)
        starts = contenders(options, cluster.bootstrap, work, NONE, 0)
        raced = race([*wholes, *starts], options.runs)
        figures = {
            whole.name: Figures(options.events, whole, start)
            for whole, start in zip(raced[: len(wholes)], raced[len(wholes) :])
        }
        results[work] = {name: one.told(figures["Asof"]) for name, one in figures.items()}
        print_table(work, results[work])
    write_results("kafka", results)
    return True


def contenders(options, brokers, work, topic, events):
    """Those of one kind of work over one topic; the names are different where there is nothing to read."""
    name_of = lambda name: name if events else f"{name}, start"
    asof = AsofReader(name_of("Asof"), options.asof, lambda: PROJECTS[work](brokers, topic), events)
    flinks = [FlinkReader(name_of(name), brokers, topic, form, backend) for name, form, backend in FLINK[work]]
    return [asof, *flinks]


def print_table(work, told):
    print(f"\n### {work}: medians of {next(iter(told.values()))['runs']} runs\n")
    print("| contender | events | wall s | from, to | events/s | CPU s | CPU s per million | times Asof's | start CPU s "
          "| per million without start | times Asof's | peak MiB |\n|---|" + "---:|" * 11)
    for name, one in told.items():
        low, high = one["wall_s_from_to"]
        print(f"| {name} | {one['events']:,} | {one['wall_s']:.2f} | {low:.2f} to {high:.2f} | {one['events_per_s']:,} "
              f"| {one['cpu_s']:.2f} | {one['cpu_s_per_million']:.2f} | {one['times_asof']:.1f} | {one['start_cpu_s']:.2f} "
              f"| {one['cpu_s_per_million_without_start']:.2f} | {one['times_asof_without_start']:.1f} | {one['peak_mib']:,} |")
    print(flush=True)
