"""A load test in one Locust process: prepares it, listens to Locust's events, and writes the result.

A process runs users (local, worker) or leads workers (master), or both. Before the load, the leader asks every script
alone and sends the answers to the workers; they send it their figures with Locust's own reports.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests import library, server_side
from loadtests.checks import Verdict
from loadtests.client import Client
from loadtests.figures import FAILED, REFUSED, WRONG, Figures
from loadtests.options import URL, Options
from loadtests.plans import plan_for
from loadtests.report import report
from loadtests.session import Answers, Asked, Session
from loadtests.shape import PlanShape
from loadtests.summary import Run, capacity_of, lines_of, summary, words
from loadtests.users import Visitor

log = logging.getLogger("loadtests")

ANSWERS = "patchbay_answers"
FIGURES = "patchbay_figures"
COULD_NOT = 2
"""Exit status if the load test could not run: no answer, or a wrong one before any load."""


class Failed(Exception):
    """A failed request, for Locust's own statistics."""


class Conductor:
    def __init__(self, environment: Environment, options: Options) -> None:
        self._environment = environment
        self._options = options
        self._library = library.build(options)
        self._session: Session | None = None
        self._answers: Answers = {}
        self._figures = Figures()
        """Of all processes, if this one leads."""
        self._plan = plan_for(options)
        self._shape: PlanShape | None = None
        self._began = 0.0
        self._ended: float | None = None
        self._metrics_before: str | None = None
        self._model = ""
        self._verdict = ""

    @property
    def _works(self) -> bool:
        return not isinstance(self._environment.runner, MasterRunner)

    @property
    def _leads(self) -> bool:
        return not isinstance(self._environment.runner, WorkerRunner)

    def attach(self) -> None:
        """Registers for Locust's events. Called once, from Locust's `init`."""
        environment, runner, events = self._environment, self._environment.runner, self._environment.events
        environment.stop_timeout = environment.stop_timeout or self._options.timeout
        self._weigh()
        events.test_start.add_listener(self._start)
        if isinstance(runner, WorkerRunner):
            runner.register_message(ANSWERS, self._hear_answers)
            events.report_to_master.add_listener(self._send_figures)
        if isinstance(runner, MasterRunner):
            events.worker_report.add_listener(self._hear_figures)
            events.worker_connect.add_listener(self._welcome)
        if self._leads:
            events.test_stop.add_listener(self._stop)
            events.quitting.add_listener(self._quit)
            # printed below Locust's own tables
            events.quit.add_listener(lambda **_: self._verdict and log.info("%s", self._verdict))
            if self._plan is not None:
                self._raise_shape()
            if environment.web_ui is not None:
                environment.web_ui.app.add_url_rule("/report", "patchbay_report", self._page)

    def _weigh(self) -> None:
        """Weights the users by the mix; kinds without weight get none."""
        users = [user for user in self._environment.user_classes if issubclass(user, Visitor)]
        for user in users:
            user.weight = self._options.mix[user.kind]
        self._environment.user_classes = [user for user in users if user.weight]

    def _raise_shape(self) -> None:
        assert self._plan is not None
        distributed = isinstance(self._environment.runner, MasterRunner)
        self._shape = PlanShape(self._plan, self._options, self._figures, distributed)
        self._shape.runner = self._environment.runner
        self._environment.shape_class = self._shape

    def _start(self, **_: Any) -> None:
        """A run begins: every process connects to the service, and the leader asks every script alone."""
        try:
            self._meet()
        except (OSError, ValueError) as error:
            log.error("%s", error)
            self._environment.process_exit_code = COULD_NOT
            gevent.spawn(self._environment.runner.quit)
            return
        if self._leads:
            self._began, self._ended = time.time(), None
            self._metrics_before = server_side.scrape(self._metrics_url)
            if self._shape is not None:
                self._shape.ready = True

    def _meet(self) -> None:
        if isinstance(self._environment.runner, WorkerRunner) and self._session is not None:
            # Locust notifies a worker of the same start again when its first users spawn
            return
        client = Client(self._url, api_key=self._options.api_key, timeout=self._options.timeout)
        try:
            self._model = client.model()
        except OSError as error:
            raise OSError(
                f"no server answers at {self._url} ({error}). Run `make serve`, or give another address with --url"
            ) from None
        session = Session(self._options, self._library, client, self._model, self._tell_locust)
        if not isinstance(self._environment.runner, MasterRunner | WorkerRunner):
            session.figures = self._figures
            self._figures.clear()
        if self._leads and self._options.answers == "alone" and not self._answers:
            log.info("asking each of %d scripts alone", sum(map(len, self._library.values())))
            self._answers = session.calibrate()
        if isinstance(self._environment.runner, MasterRunner):
            self._figures.clear()
            self._environment.runner.send_message(ANSWERS, {"answers": self._answers})
        session.answers = self._answers
        self._session = session
        Visitor.session = session

    def _hear_answers(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._answers = msg.data["answers"]
        if self._session is not None:
            self._session.answers = self._answers

    def _welcome(self, client_id: str, **_: Any) -> None:
        runner = self._environment.runner
        if self._answers and isinstance(runner, MasterRunner):
            runner.send_message(ANSWERS, {"answers": self._answers}, client_id)

    def _send_figures(self, data: dict[str, Any], **_: Any) -> None:
        if self._session is not None:
            data[FIGURES] = self._session.figures.take()

    def _hear_figures(self, data: dict[str, Any], **_: Any) -> None:
        self._figures.merge(data.get(FIGURES, []))

    def _tell_locust(self, asked: Asked) -> None:
        """Reports the request to Locust's own tables and web page; first tokens have separate rows."""
        reply, verdict, events = asked.reply, asked.verdict, self._environment.events
        fields = {"name": asked.kind, "response_length": reply.made}
        kind = "refused" if verdict.end == REFUSED else "answer"
        events.request.fire(
            request_type=kind, response_time=reply.total, exception=_exception(verdict), context={}, **fields
        )
        if reply.first is not None:
            events.request.fire(
                request_type="first token", response_time=reply.first, exception=None, context={}, **fields
            )

    def _stop(self, **_: Any) -> None:
        """A run is over. Another can follow from Locust's web page."""
        if not self._began:
            return
        if self._plan is None:
            self._wait_for_all()
        self._ended = time.time()
        run = self._run()
        told = summary(run, self._figures)
        folder = Path(self._options.report_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        (folder / "report.html").write_text(report(run, self._figures))
        self._verdict = f"{folder / 'report.html'} and summary.json\n{words(told)}"
        if self._environment.web_ui is not None:
            log.info("%s", self._verdict)
        self._environment.process_exit_code = 0 if told["passed"] else 1
        if self._shape is not None:
            self._plan = plan_for(self._options)
            self._raise_shape()

    def _wait_for_all(self) -> None:
        """Waits for the last requests of users that have stopped; a shape does this itself."""
        until = time.monotonic() + self._options.timeout
        while self._figures.in_flight > 0 and time.monotonic() < until:
            gevent.sleep(0.2)

    def _run(self) -> Run:
        after = server_side.scrape(self._metrics_url)
        runner = self._environment.runner
        run = Run(
            options=self._options,
            url=self._url,
            model=self._model,
            began=self._began,
            ended=self._ended or time.time(),
            processes=max(1, getattr(runner, "worker_count", 1)),
            server=server_side.differences(self._metrics_before, after),
            levels=self._shape.levels if self._shape is not None else (),
        )
        run.lines = lines_of(run, self._plan, self._figures)
        run.stages = self._plan.stages if self._plan is not None else ()
        run.capacity = capacity_of(self._plan)
        return run

    def _page(self) -> str:
        return report(self._run(), self._figures) if self._began else "Nothing has been measured yet."

    @property
    def _url(self) -> str:
        return (self._environment.host or URL).rstrip("/")

    @property
    def _metrics_url(self) -> str:
        return self._options.metrics_url or f"{self._url}/metrics"

    def _quit(self, **_: Any) -> None:
        if not self._began and self._environment.process_exit_code is None:
            self._environment.process_exit_code = COULD_NOT


def _exception(verdict: Verdict) -> Failed | None:
    return Failed(f"{verdict.end}: {verdict.reason}") if verdict.end in (WRONG, FAILED) else None
