"""What many seeds say together: intervals, paired tests, and sentences that claim no more than they show."""

from __future__ import annotations

from goodinit.comparing.statistics.summary import Summary, summarize

__all__ = ["Summary", "summarize"]
