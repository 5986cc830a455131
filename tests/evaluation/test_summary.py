import math

from bayes_splat.evaluation import summary


def _rows(method, shift, view=None, **more):
    return [
        {
            "scene": scene,
            "split": "near",
            "method": method,
            "scaling": scaling,
            **({"view": view} if view else {}),
            "psnr": 20.0 + shift,
            "nll": -1.0 - shift,
            "coverage_90": 0.9 - 0.1 * number,
            "ece": 0.02,
            "auroc_outside": 0.95 if number else math.nan,
            "auroc_never_seen": 0.8,
            "seconds": 12.0,
            **more,
        }
        for number, scene in enumerate(("fox", "fern"))
        for scaling in ("raw", "scaled")
    ]


VIEWS = [
    *_rows("ensemble", 0.0, "a"),
    *_rows("gibbs", 1.0, "a", depth_nll=0.5),
    {
        "scene": "fox",
        "split": "near",
        "method": "nuts",
        "scaling": "raw",
        "error": "too | slow",
    },
]
SCENES = [*_rows("ensemble", 0.0), *_rows("gibbs", 1.0)]


def test_page_holds_every_part():
    text = summary.markdown(VIEWS, SCENES, ["gibbs"], ["reliability.png"])
    assert "2 scenes, 2 target views" in text
    assert "| gibbs | raw | 21.00 [21.00, 21.00] | -2.000 [-2.000, -2.000] |" in text
    assert "| gibbs | raw | 0.800 | 0.900 | 0.950 | 0.950 | 1 | 0.800 | 0.800 | 2 |" in text
    assert "| gibbs - ensemble | raw | nll | -1.0000 [-1.0000, -1.0000] | 100 % of 2 |" in text
    assert "| fox | near | nuts | too / slow |" in text
    assert "| fern | near | gibbs | scaled | 21.00 | -2.00 | - | - | 0.800 |" in text
    assert "| fern | near | ensemble |" not in text
    assert "## Depth" in text
    assert "![reliability.png](reliability.png)" in text
    assert "ssim" not in text.lower()  # a column that nobody has


def test_short_table_is_raw():
    text = summary.short(VIEWS)
    assert "| gibbs | raw | 21.00 | -2.000 |" in text
    assert "scaled" not in text
    assert "too / slow" in text


def test_html_is_the_same_page():
    text = summary.markdown(VIEWS, SCENES, ["gibbs"], ["a b.png"])
    page = summary.as_html(text)
    assert page.startswith("<!doctype html>")
    assert '<img src="a b.png"' in page
    assert "<h2>Against the baselines</h2>" in page
    assert "<td>gibbs - ensemble</td><td>raw</td><td>nll</td>" in page
    assert page.count("<table>") == page.count("</table>") == text.count("\n|---|")
    assert "alpha &gt; 0.5" in summary.as_html("| alpha > 0.5 |\n|---|\n| 1 |\n")
