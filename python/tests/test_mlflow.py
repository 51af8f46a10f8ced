"""Runs in a hub, logged and read by MLflow's own client."""

import math

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from requests import HTTPError

from consortium import run

PROJECT = "korean-reviews"


def token(consortium, name):
    return (consortium.folder / "credentials" / name).read_text().strip()


@pytest.fixture
def tracked(consortium, monkeypatch):
    """The client of a hub: a function that makes it somebody's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", consortium.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow.set_tracking_uri(consortium.url)

    def be(name):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token(consortium, name))
        return MlflowClient()

    yield be
    while mlflow.active_run():
        mlflow.end_run()


def test_a_run_is_logged_and_read(tracked, tmp_path):
    client = tracked("minji")
    assert mlflow.set_experiment(PROJECT).name == PROJECT
    picture = tmp_path / "loss.txt"
    picture.write_text("falling\n")
    with mlflow.start_run(run_name="first", tags={"khub.label": "consortium"}) as begun:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"layers": 2, "optimiser": "adamw"})
        for step in range(10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 0.5, "odd": math.nan}, step=3)
        mlflow.set_tag("note", "한글")
        mlflow.log_artifact(str(picture), artifact_path="plots")
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": 1}, "config.json")
    found = client.get_run(begun.info.run_id)
    assert (found.info.status, found.info.user_id, found.info.experiment_id) == ("FINISHED", "minji", PROJECT)
    assert found.info.end_time >= found.info.start_time
    assert found.data.params == {"lr": "0.1", "layers": "2", "optimiser": "adamw"}
    assert found.data.metrics["loss"] == 0.1 and math.isnan(found.data.metrics["odd"])
    assert found.data.tags["note"] == "한글" and found.data.tags["khub.label"] == "consortium"
    history = client.get_metric_history(begun.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(step, 1 / (step + 1)) for step in range(10)]
    names = {(one.path, one.is_dir, one.file_size) for one in client.list_artifacts(begun.info.run_id)}
    assert names == {("plots", True, None), ("notes", True, None), ("config.json", False, 12)}
    assert [one.path for one in client.list_artifacts(begun.info.run_id, "plots")] == ["plots/loss.txt"]
    fetched = mlflow.artifacts.download_artifacts(run_id=begun.info.run_id, dst_path=str(tmp_path / "out"))
    assert open(f"{fetched}/plots/loss.txt").read() == "falling\n"
    assert mlflow.artifacts.load_text(found.info.artifact_uri + "/notes/hello.txt") == "hello"


def test_asynchronous_logging_and_long_histories(tracked):
    client = tracked("minji")
    mlflow.set_experiment(PROJECT)
    with mlflow.start_run() as begun:
        for step in range(500):
            mlflow.log_metric("loss", step, step=step, synchronous=False)
        mlflow.log_params({"a": 1}, synchronous=False)
        mlflow.flush_async_logging()
        many = [Metric("many", step / 7, 1_000 + step, step) for step in range(30_000)]
        for at in range(0, len(many), 1_000):
            client.log_batch(begun.info.run_id, metrics=many[at : at + 1_000])
        client.log_batch(begun.info.run_id, metrics=many[:5])
    run_id = begun.info.run_id
    assert [one.value for one in client.get_metric_history(run_id, "loss")] == list(range(500))
    # More than one answer holds.
    history = client.get_metric_history(run_id, "many")
    assert [(one.step, one.value) for one in history] == [(one.step, one.value) for one in many]
    assert client.get_run(run_id).data.params == {"a": "1"}
    batch = {"params": [Param("b", "2")], "tags": [RunTag("t", "x")]}
    client.log_batch(run_id, metrics=[Metric("m", 1.5, 0, 0)], **batch)
    assert client.get_run(run_id).data.tags["t"] == "x"


def test_failed_and_nested_runs(tracked):
    client = tracked("minji")
    mlflow.set_experiment(PROJECT)
    with pytest.raises(ZeroDivisionError):
        with mlflow.start_run() as outer:
            with mlflow.start_run(nested=True) as inner:
                mlflow.log_metric("loss", 1)
            raise ZeroDivisionError
    assert client.get_run(outer.info.run_id).info.status == "FAILED"
    assert client.get_run(inner.info.run_id).info.status == "FINISHED"
    children = client.search_runs([PROJECT], f"tags.mlflow.parentRunId = '{outer.info.run_id}'")
    assert [one.info.run_id for one in children] == [inner.info.run_id]
    # A run is taken up again by its name.
    with mlflow.start_run(run_id=outer.info.run_id):
        mlflow.log_metric("later", 2)
    assert client.get_run(outer.info.run_id).info.status == "FINISHED"
    client.update_run(outer.info.run_id, status="KILLED", name="renamed")
    assert client.get_run(outer.info.run_id).info.run_name == "renamed"


def test_searches(tracked):
    client = tracked("minji")
    experiment = client.get_experiment_by_name(PROJECT)
    for n in range(5):
        one = client.create_run(experiment.experiment_id, start_time=1_000 + n, run_name=f"r{n}")
        client.log_param(one.info.run_id, "lr", 0.1 * (n % 2))
        if n != 2:
            client.log_metric(one.info.run_id, "val/loss", [0.3, 0.1, 0, math.nan, 0.2][n])
        client.set_terminated(one.info.run_id, "FAILED" if n == 4 else "FINISHED")

    def names(text="", order=None, view=ViewType.ACTIVE_ONLY, **more):
        found = client.search_runs([PROJECT, "nothing"], text, view, order_by=order, **more)
        return [one.info.run_name for one in found]

    assert names() == ["r4", "r3", "r2", "r1", "r0"]
    assert names("metrics.`val/loss` < 0.25", ["metrics.`val/loss` ASC"]) == ["r1", "r4"]
    assert names(order=["metrics.`val/loss` DESC"]) == ["r0", "r4", "r1", "r3", "r2"]
    assert names("params.lr = '0.1' and attributes.status = 'FINISHED'") == ["r3", "r1"]
    assert names("attributes.run_name LIKE 'r%' AND start_time > 1002", ["start_time ASC"]) == ["r3", "r4"]
    assert names("tags.`khub.label` = 'restricted'", max_results=2) == ["r4", "r3"]
    frame = mlflow.search_runs([PROJECT], "attributes.status = 'FAILED'", output_format="list")
    assert [one.info.run_name for one in frame] == ["r4"]
    page = client.search_runs([PROJECT], max_results=3)
    rest = client.search_runs([PROJECT], max_results=3, page_token=page.token)
    assert [one.info.run_name for one in page + rest] == ["r4", "r3", "r2", "r1", "r0"]
    with pytest.raises(MlflowException, match="OR") as no:
        names("params.lr = '0' OR params.lr = '1'")
    assert no.value.error_code == "INVALID_PARAMETER_VALUE"

    gone = page[0].info.run_id
    client.delete_run(gone)
    assert "r4" not in names() and names(view=ViewType.DELETED_ONLY) == ["r4"]
    assert client.get_run(gone).info.lifecycle_stage == "deleted"
    client.restore_run(gone)
    assert "r4" in names(view=ViewType.ALL) and "r4" in names()

    known = client.search_experiments()
    assert PROJECT in [one.name for one in known]
    assert [one.name for one in client.search_experiments(filter_string=f"name = '{PROJECT}'")] == [PROJECT]
    assert client.get_experiment(PROJECT).tags["khub.programme"] == "language"


def test_what_a_partner_sees(tracked):
    mine = tracked("minji")
    hidden = mine.create_run(PROJECT, run_name="hidden", tags={"khub.label": "restricted"}).info.run_id
    mine.log_metric(hidden, "loss", 1)
    mine.log_text(hidden, "secret", "a.txt")
    hers = tracked("ingrid")
    own = hers.create_run(PROJECT, run_name="own", tags={"khub.label": "restricted"}).info.run_id
    hers.log_param(own, "lr", 1)
    assert [one.info.run_name for one in hers.search_runs([PROJECT])] == ["own"]
    assert hers.search_runs([PROJECT], "metrics.loss > 0") == []
    for asked in [hers.get_run, hers.list_artifacts, lambda it: hers.log_metric(it, "loss", 2)]:
        with pytest.raises(MlflowException, match="no run") as no:
            asked(hidden)
        assert no.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(HTTPError, match="no run"):
        mlflow.artifacts.load_text(f"mlflow-artifacts:/{PROJECT}/{hidden}/artifacts/a.txt")
    assert {one.info.run_name for one in tracked("minji").search_runs([PROJECT])} == {"hidden", "own"}


def test_what_is_not_there_says_so(tracked):
    client = tracked("minji")
    with pytest.raises(MlflowException, match="programme office") as no:
        mlflow.set_experiment("my-own")
    assert no.value.error_code == "PERMISSION_DENIED"
    with pytest.raises(MlflowException, match="khub tracks runs") as no:
        client.create_registered_model("m")
    assert no.value.error_code == "ENDPOINT_NOT_FOUND"
    one = client.create_run(PROJECT).info.run_id
    client.log_param(one, "lr", 1)
    with pytest.raises(MlflowException, match="already") as no:
        client.log_param(one, "lr", 2)
    assert no.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.MonkeyPatch.context() as other:
        other.setenv("MLFLOW_TRACKING_TOKEN", "khub_forged")
        with pytest.raises(MlflowException, match="token"):
            client.get_run(one)


def test_backups_have_what_was_measured(tracked, consortium, tmp_path):
    client = tracked("minji")
    one = client.create_run(PROJECT).info.run_id
    client.log_batch(one, metrics=[Metric("loss", step, step, step) for step in range(1_000)])
    said = run("backup", str(tmp_path / "backup"), "--folder", str(consortium.folder))
    assert "1000 points of runs" in said
    run("restore", str(tmp_path / "backup"), "--folder", str(tmp_path / "again"))
    hub = consortium.start("serve", "--folder", str(tmp_path / "again"), "--listen", "127.0.0.1:0")
    url = next(word for word in hub.stdout.readline().split() if word.startswith("http://"))
    assert len(MlflowClient(url).get_metric_history(one, "loss")) == 1_000


def test_khub_shows_and_compares_them(tracked, consortium, tmp_path):
    client = tracked("minji")
    ids = []
    for n in range(2):
        one = client.create_run(PROJECT, run_name=f"r{n}").info.run_id
        client.log_param(one, "lr", 0.1 * (n + 1))
        client.log_param(one, "layers", 2)
        client.log_batch(one, metrics=[Metric("loss", 1 / (step + n + 1), step, step) for step in range(50)])
        client.log_text(one, "x", "notes/a.txt")
        ids.append(one)
    at = ("--hub", consortium.url, "--folder", str(consortium.folder))
    listed = run("runs", "list", "--filter", "params.lr = '0.2'", *at)
    assert ids[1][:8] in listed and ids[0][:8] not in listed
    shown = run("runs", "show", ids[0][:12], *at)
    assert "notes/a.txt" in shown and "loss" in shown and "step 0" in shown and "restricted" in shown
    picture = tmp_path / "loss.svg"
    compared = run("runs", "compare", *ids, "--metric", "loss", "--svg", str(picture), *at)
    assert "0.2" in compared and "layers" not in compared
    assert picture.read_text().startswith("<svg") and "r1" in picture.read_text()
