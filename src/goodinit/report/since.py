"""What is new since a baseline: new and worse findings in full, the known and the gone in a line each."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from goodinit.records import Finding, KnownFinding, SinceBaseline
from goodinit.report.health import finding_block
from goodinit.report.words import between, collapsed, count, number

__all__ = ["changed", "since_baseline"]


def since_baseline(since: SinceBaseline) -> RenderableType:
    """Return the comparison as a Rich group.

    >>> from rich.console import Console
    >>> Console().print(since_baseline(SinceBaseline("Net", (), (), (), ())))
    Net: nothing new since the baseline.
    """
    parts: list[RenderableType] = [_head(since)]
    for finding in since.new:
        parts += [Text(""), finding_block(finding, mark=Text("new  ", style="bold magenta"))]
    for finding, entry in since.worse:
        before = [("baseline", _before(finding, entry))]
        parts += [Text(""), finding_block(finding, mark=Text("worse  ", style="bold red"), more=before)]
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for finding, entry in since.known:
        line = Text(f"{finding.code} {finding.title}  {collapsed(finding.where)}")
        if entry.why:
            line.append(f"  ({entry.why})", style="dim")
        lines.add_row(Text("known", style="dim"), line)
    for entry in since.gone:
        text = f"{entry.code} {entry.title}  {collapsed(entry.where)}".rstrip()
        lines.add_row(Text("gone", style="green"), Text(text))
    if since.known or since.gone:
        parts += [Text(""), lines]
    return Group(*parts)


def changed(since: SinceBaseline) -> str:
    """Return in one sentence which codes came and went.

    >>> changed(SinceBaseline("Net", (), (), (), ()))
    'nothing changed'
    """
    groups = (
        ("new", [finding.code for finding in since.new]),
        ("worse", [finding.code for finding, _ in since.worse]),
        ("still there", [finding.code for finding, _ in since.known]),
        ("gone", [entry.code for entry in since.gone]),
    )
    words = [f"{title}: {', '.join(dict.fromkeys(codes))}" for title, codes in groups if codes]
    return "; ".join(words) or "nothing changed"


def _head(since: SinceBaseline) -> Text:
    news = {"new": len([each for each in since.new if each.severity != "note"])}
    news["worse"] = len(since.findings) - news["new"]
    if since.findings:
        grave = any(finding.severity == "error" for finding in since.findings)
        counted = " and ".join(f"{many} {word}" for word, many in news.items() if many)
        noun = "finding" if (news["worse"] or news["new"]) == 1 else "findings"
        sentence = f"{since.model}: {counted} {noun} since the baseline"
        head = Text(sentence, style="bold red" if grave else "bold yellow")
    else:
        # Never "healthy": what is known is still there.
        head = Text(f"{since.model}: nothing new since the baseline", style="bold green")
    known = f"; {count(len(since.known), 'known finding')}" if since.known else ""
    return head.append(f"{known}.", style="not bold default")


def _before(finding: Finding, entry: KnownFinding) -> str:
    """Say in which respect a finding is worse than what the baseline has."""
    told = []
    further = tuple(name for name in finding.where if name not in entry.where)
    if further:
        told.append(f"reached {collapsed(further)}")
    if finding.severity != entry.severity:
        told.append(f"{entry.severity} before")
    healthy = f"; healthy: {between(entry.expected)}" if entry.expected else ""
    told.append(f"measured {number(entry.effect)}{healthy}")
    return ", ".join(told)
