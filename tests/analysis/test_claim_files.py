"""Files of claims: they say of which study they are, and the table of claims takes none but the studies as shipped."""

import json
import math
from dataclasses import replace

import pytest

from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE
from dynamics.analysis.claim_files import ClaimSource, read_claim_file, read_claims, write_claims
from dynamics.analysis.claims import Claim
from dynamics.analysis.controls import NOT_REJECTED, REJECTED
from dynamics.errors import InputError
from dynamics.study.alterations import shipped_identity

SOURCE = ClaimSource(
    experiment="mine/first", size="laptop", altered=False, overrides=("steps=3",), code="1f", runs=4, identity="ab"
)
CLAIM = Claim(
    id="first/one",
    source="Someone 2020",
    statement="a",
    prediction="x < 1",
    measured=0.5,
    low=0.4,
    high=0.6,
    verdict=HOLDS,
    control="none",
    control_measured=2.0,
    control_outcome=REJECTED,
    seconds=1.5,
)
UNKNOWN_CLAIM = replace(CLAIM, id="first/two", measured=math.nan, low=-math.inf, high=math.nan, verdict=INCONCLUSIVE)


@pytest.fixture
def file(tmp_path):
    write_claims([CLAIM, UNKNOWN_CLAIM], tmp_path / "first.claims.json", SOURCE)
    return tmp_path / "first.claims.json"


def test_claims_and_their_source_survive_writing_and_reading(file):
    source, (first, second) = read_claim_file(file)
    assert (source, first) == (SOURCE, CLAIM)
    assert (second.verdict, second.control_measured) == (INCONCLUSIVE, 2.0)
    assert math.isnan(second.measured) and math.isnan(second.high) and second.low == -math.inf
    strict = json.loads(file.read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert strict["claims"][1]["measured"] is None


@pytest.mark.parametrize("verdict, outcome", [(FAILS, REJECTED), (HOLDS, NOT_REJECTED), (INCONCLUSIVE, NOT_REJECTED)])
def test_older_files_have_no_source_and_had_a_verdict_of_the_control(file, verdict, outcome):
    row = json.loads(file.read_text())["claims"][0]
    for later in ("control_outcome", "control_low", "control_high", "control_kind", "seeds", "level", "left_out"):
        del row[later]
    for later in ("catches", "margin", "post_hoc", "theorem"):
        del row[later]
    file.write_text(json.dumps([{**row, "control_verdict": verdict}]))
    assert read_claim_file(file) == (None, [replace(CLAIM, control_outcome=outcome)])


@pytest.mark.parametrize("text", ["[{}]", "{", '[{"id": 1}]', "[3]", "{}", '{"claims": [], "source": {"size": 1}}'])
def test_a_file_of_something_else_is_refused(file, text):
    file.write_text(text)
    with pytest.raises(InputError, match="is not a file of claims"):
        read_claims(file)


def test_the_table_takes_the_studies_of_one_size_and_counts_what_it_leaves_out(cli, tmp_path):
    figures = tmp_path / "figures"
    sources = {
        "one": SOURCE,
        "altered": replace(SOURCE, altered=True),
        "other/altered": replace(SOURCE, altered=True, size="smoke"),
        "small": replace(SOURCE, size="smoke", code="2e-dirty"),
        "stale": replace(SOURCE, experiment="stable_minima/rates"),
        "fresh": replace(SOURCE, experiment="atlas/catapult", identity=shipped_identity("atlas/catapult", "laptop")),
        "old": None,
    }
    for name, source in sources.items():
        (figures / name).mkdir(parents=True, exist_ok=True)
        write_claims([replace(CLAIM, id=f"{name}/claim")], figures / name / "a.claims.json", source or SOURCE)
        if source is None:
            rows = json.loads((figures / name / "a.claims.json").read_text())["claims"]
            (figures / name / "a.claims.json").write_text(json.dumps(rows))

    code, out, err = cli("claims", str(figures))
    assert (code, err) == (0, "")
    table = json.loads((figures / "claims.json").read_text())
    assert {row["id"] for row in table["claims"]} == {"one/claim", "fresh/claim"}
    assert {source["experiment"] for source in table["sources"]} == {"atlas/catapult", "mine/first"}
    assert "2 experiments at size=laptop, judged by the code of 1f" in out
    assert "1 file of runs that the config asks for no longer" in out
    assert "left out: 2 files of altered studies, 1 file that does not say of which study" in out
    assert "1 file of size=smoke" in out

    assert "2e-dirty" in cli("claims", str(figures), "--size", "smoke")[1]
    assert [claim.id for claim in read_claims(figures / "claims.json")] == ["small/claim"]
    code, _, err = cli("claims", str(figures), "--size=paper")
    assert code == 2 and "holds no claims of a study at size=paper; left out: 2 files of altered studies" in err
