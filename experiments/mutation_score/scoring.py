"""What counts as detected and as named rightly, and the tables of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from experiments.mutation_score.mutations import Mutation
from experiments.mutation_score.studies import Study
from experiments.pages import markdown
from mutransfer.parameterization.model.names import owner

Entry = Mapping[str, Any]
COLUMNS = ("coordinates", "unaided", "handed_over", "movement", "verifier", "mup")


def named(mutation: Mutation, entry: Entry) -> bool:
    """Whether the coordinate check blames first what was changed, in the right words, and nothing that was not."""
    return placed(mutation, entry) and any(word in entry["blames"][0]["words"] for word in mutation.words)


def placed(mutation: Mutation, entry: Entry) -> bool:
    """Whether what is blamed first was changed, and nothing is blamed that was not, whatever the words."""
    blames = entry["blames"]
    return bool(blames) and all(any(fnmatch(b["where"], p) for p in mutation.where) for b in blames)


def module_named(mutation: Mutation, entry: Entry) -> bool:
    """Whether the module that is furthest off is one whose parameters were changed."""
    return bool(entry["blames"]) and any(fnmatch(entry["blames"][0]["where"], owner(p)) for p in mutation.where)


def tables(known: Mapping[str, Entry], mutations: Sequence[Mutation], studies: Sequence[Study]) -> dict[str, str]:
    """Counts, mutations and correct studies, by the names under which the page has them."""
    mutations, studies = [c for c in mutations if c.name in known], [c for c in studies if c.name in known]
    marks = {m.name: " (harmless)" if m.harmless else " (unseen)" if m.unseen else "" for m in mutations}
    of_mutations = [
        [m.name + marks[m.name], m.setting.name, *(_cell(m, known[m.name], which) for which in COLUMNS)]
        for m in mutations
    ]
    of_studies = [[s.name, *(_study_cell(known[s.name].get(which), which) for which in COLUMNS)] for s in studies]
    checks = ("coordinates", "unaided", "handed over", *COLUMNS[3:-1], "mup's check")
    return {
        "summary": summary(known, mutations, studies),
        "mutations": markdown(("mutation", "setting", *checks), of_mutations),
        "studies": markdown(("correct study", *checks), of_studies),
    }


def summary(known: Mapping[str, Entry], mutations: Sequence[Mutation], studies: Sequence[Study]) -> str:
    """Counts per check, harmless mutations apart."""
    real_ones = [m for m in mutations if not m.harmless]
    real = [known[m.name] for m in real_ones]
    lines = []
    for which in COLUMNS:
        done = [e[which] for e in real if which in e]
        right = [known[s.name][which] for s in studies if which in known[s.name]]
        alarms, seen = (sum(e["alarm"] for e in entries) for entries in (right, done))
        title = which.replace("_", " ")
        lines.append(f"{title}: {seen} of {len(done)} detected, {alarms} alarms on {len(right)} correct studies")
    coordinates = [
        (m, known[m.name]["coordinates"]) for m in mutations if not m.harmless and "coordinates" in known[m.name]
    ]
    trained = [(c.name, known[c.name]["movement"]) for c in (*mutations, *studies) if "movement" in known[c.name]]
    broken = {m.name for m in mutations if not m.harmless}
    right = {s.name for s in studies}
    off = [sum(bool(e["alarm"] or e["blames"]) for n, e in trained if n in which) for which in (broken, right)]
    lines.append(
        f"movement, its verdict or updates that are off: {off[0]} detected, {off[1]} alarms on correct studies"
    )
    shown = [known[m.name]["handed_over"] for m in real_ones if not m.unshown and "handed_over" in known[m.name]]
    lines.append(
        f"before a plan is handed over, of those that a first step can show: {sum(e['alarm'] for e in shown)} of "
        f"{len(shown)} detected"
    )
    alone = [(m, known[m.name]["unaided"]) for m in mutations if not m.harmless and "unaided" in known[m.name]]
    lines.append(f"the right place by measurement alone: {sum(placed(m, e) for m, e in alone)} of {len(alone)}")
    lines.append(f"named rightly by coordinates: {sum(named(m, e) for m, e in coordinates)} of {len(coordinates)}")
    late = [(m, e) for m, e in coordinates if m.unseen]
    lines.append(
        f"of those written when the check was final: {sum(e['alarm'] for _, e in late)} of {len(late)} detected by "
        f"coordinates, {sum(named(m, e) for m, e in late)} named rightly"
    )
    anything = [any(e[which]["alarm"] for which in COLUMNS[:-1] if which in e) for e in real]
    lines.append(f"by any but mup's check: {sum(anything)} of {len(anything)} detected")
    return "\n".join(f"- {line}" for line in lines)


def _cell(mutation: Mutation, entry: Entry, which: str) -> str:
    if which not in entry:
        return ""
    found = entry[which]
    if which == "movement":
        return _movement(found, f" at {'the right' if module_named(mutation, found) else 'another'} module")
    if which == "handed_over" and mutation.unshown:
        return mutation.unshown
    if not found["alarm"]:
        return "-"
    if which == "coordinates":
        how = "" if found["blames"] and found["blames"][0]["measured"] else " (read)"
        return ("named" if named(mutation, found) else "detected") + how
    if which in ("unaided", "handed_over"):
        return "placed" if placed(mutation, found) else "detected"
    return found["says"].split(":")[0] if which == "verifier" else "detected"


def _study_cell(found: Entry | None, which: str) -> str:
    if found is None:
        return ""
    if which == "movement" and (told := _movement(found)) != "-":
        return told
    return "pass" if not found["alarm"] else found["says"].split(":")[0] if which == "verifier" else "ALARM"


def _movement(found: Entry, where: str = "") -> str:
    """The verdict where that is wrong, else whether updates are off."""
    if found["alarm"]:
        return found["says"].split(":")[0]
    return f"updates off{where}" if found["blames"] else "-"
