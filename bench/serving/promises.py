"""What a figure has to keep, and the line that says whether it does."""

from serving.load import failures

RATE_KEPT_MIN = 0.99  # of the requests asked for, answered by the end of the measured time


def is_answered(report, rate):
    return failures(report) == 0 and report["rate"] >= RATE_KEPT_MIN * rate


def promised(what, is_kept):
    print(f"{'kept' if is_kept else 'NOT KEPT'}: {what}", flush=True)
    return is_kept
