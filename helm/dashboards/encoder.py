"""Encoder: images to soft tokens."""

from __future__ import annotations

from helm.dashboards.board import board
from helm.dashboards.panels import RED, YELLOW, Query, chart, name, number, quantiles, spread

BUSY = "rate(patchbay_encoder_busy_seconds_total{@}[_])"
PATCHES = "sum(rate(patchbay_encoder_batch_patches_sum{@}[_]))"
IMAGES = "sum(rate(patchbay_encoder_batch_items_sum{@}[_]))"
BATCHES = "sum(rate(patchbay_encoder_batch_items_count{@}[_]))"


def stage(which: str) -> str:
    return f'@, stage="{which}"'


def dashboard() -> object:
    return board(
        "encoder",
        "Encoder",
        "How fast do images become soft tokens, and what holds them up?",
        [
            (
                "Now",
                [
                    name(
                        "Kernels",
                        "Device, kernel backend and body. `reference` kernels are right and slow.",
                        Query("patchbay_encoder_info{@}", "{{device}}, {{kernels}}, {{body}}"),
                    ),
                    number(
                        "Down",
                        "Instances whose last batch answered nobody.",
                        Query(
                            "count(patchbay_encoder_up{@} == 0 and on (namespace, instance) patchbay_encoder_info{@})"
                            " or vector(0)"
                        ),
                        "none",
                        steps=((1, RED),),
                    ),
                    number(
                        "Busy",
                        "Share of time in which the encoder computed. Scale out above 80 %.",
                        Query(f"avg({BUSY})"),
                        "percentunit",
                        steps=((0.8, YELLOW), (0.95, RED)),
                        decimals=0,
                    ),
                    number("Images", "Encoded a second.", Query(IMAGES), "ops", decimals=1),
                    number("Patches", "Encoded a second.", Query(PATCHES), "ops", decimals=0),
                    number(
                        "Waiting",
                        "Images that wait for the device.",
                        Query('sum(patchbay_queue_depth{@, stage="encode"})'),
                        "none",
                        steps=((32, YELLOW), (128, RED)),
                    ),
                ],
            ),
            (
                "Work",
                [
                    chart(
                        "Busy",
                        "Share of time in which the encoder computed, by instance.",
                        [Query(BUSY, "{{instance}}")],
                        "percentunit",
                        top=1,
                        steps=((0.8, YELLOW), (0.95, RED)),
                    ),
                    chart(
                        "Patches a second",
                        "Encoded a second, and what a second of computing yields.",
                        [Query(PATCHES, "a second"), Query(f"{PATCHES} / sum({BUSY})", "a busy second")],
                        "ops",
                    ),
                    chart(
                        "Waiting",
                        "Images that wait for the device.",
                        [Query('sum(patchbay_queue_depth{@, stage="encode"})', "images")],
                        "none",
                    ),
                ],
            ),
            (
                "Batches",
                [
                    spread(
                        "Images in a batch",
                        "How many batches had how many images.",
                        "patchbay_encoder_batch_items",
                        "none",
                    ),
                    spread(
                        "Patches in a batch",
                        "How many batches had how many patches.",
                        "patchbay_encoder_batch_patches",
                        "none",
                    ),
                    chart(
                        "Mean batch",
                        "Seconds on the device, batch by batch.",
                        [Query(f"sum({BUSY}) / {BATCHES}", "seconds")],
                        "s",
                    ),
                ],
            ),
            (
                "Images",
                [
                    chart(
                        "Decoding and cutting",
                        "A free process waited for, in the sandboxed pool.",
                        quantiles("patchbay_stage_duration_seconds", 0.5, 0.95, labels=stage("decode")),
                        "s",
                    ),
                    chart(
                        "Wait for the device",
                        "From its tiles being there to its batch.",
                        quantiles("patchbay_stage_duration_seconds", 0.5, 0.95, labels=stage("encode_queue")),
                        "s",
                    ),
                    chart(
                        "Size",
                        "Pixels of an accepted image, width times height.",
                        quantiles("patchbay_image_pixels", 0.5, 0.95),
                        "short",
                    ),
                    chart(
                        "Failures",
                        "Images that the encoder failed on or that could not be decoded, and processes that were lost.",
                        [
                            Query("sum(rate(patchbay_encoder_failures_total{@}[_]))", "encoder"),
                            Query(
                                'sum(rate(patchbay_media_errors_total{@, reason="invalid_image"}[_]))',
                                "decoder",
                            ),
                            Query(
                                "sum(rate(patchbay_decode_worker_losses_total{@}[_]))", "decoding processes"
                            ),
                        ],
                        "ops",
                        width=12,
                    ),
                    chart(
                        "Formats",
                        "Images accepted, by format.",
                        [Query("sum by (format) (rate(patchbay_images_total{@}[_]))", "{{format}}")],
                        "ops",
                        width=12,
                        stack=True,
                    ),
                ],
            ),
        ],
    )
