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
        "How fast are images encoded, and what holds them up?",
        [
            (
                "Now",
                [
                    name(
                        "Kernels",
                        "Device, kernel backend and body. `reference` kernels are correct but slow.",
                        Query("patchbay_encoder_info{@}", "{{device}}, {{kernels}}, {{body}}, {{precision}}"),
                    ),
                    number(
                        "Down",
                        "Instances whose last batch failed for every image.",
                        Query(
                            "count(patchbay_encoder_up{@} == 0 and on (namespace, instance) patchbay_encoder_info{@})"
                            " or vector(0)"
                        ),
                        "none",
                        steps=((1, RED),),
                    ),
                    number(
                        "Busy",
                        "Share of time that the encoder spends computing. Scale out above 80 %.",
                        Query(f"avg({BUSY})"),
                        "percentunit",
                        steps=((0.8, YELLOW), (0.95, RED)),
                        decimals=0,
                    ),
                    number("Images", "Encoded per second.", Query(IMAGES), "suffix: images/s", decimals=1),
                    number(
                        "Reduced",
                        "Images per second that got fewer tiles because the encoder was behind: see "
                        "auto_detail_backlog.",
                        Query("sum(rate(patchbay_images_reduced_total{@}[_]))"),
                        "suffix: images/s",
                        steps=((0.01, YELLOW),),
                    ),
                    number(
                        "Waiting",
                        "Images waiting for the device.",
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
                        "Share of time that the encoder spends computing, by instance.",
                        [Query(BUSY, "{{instance}}")],
                        "percentunit",
                        top=1,
                        steps=((0.8, YELLOW), (0.95, RED)),
                    ),
                    chart(
                        "Patches per second",
                        "Encoded per second, and per second of computing.",
                        [Query(PATCHES, "per second"), Query(f"{PATCHES} / sum({BUSY})", "per busy second")],
                        "suffix: patches/s",
                    ),
                    chart(
                        "Backlog",
                        "Seconds of computing that all images need which the encoder has not given back, by instance.",
                        [Query("patchbay_encoder_backlog_seconds{@}", "{{instance}}")],
                        "s",
                    ),
                ],
            ),
            (
                "Batches",
                [
                    spread(
                        "Images per batch",
                        "Distribution of the number of images.",
                        "patchbay_encoder_batch_items",
                        "none",
                    ),
                    spread(
                        "Patches per batch",
                        "Distribution of the number of patches.",
                        "patchbay_encoder_batch_patches",
                        "none",
                    ),
                    chart(
                        "Mean batch time",
                        "Mean seconds on the device per batch.",
                        [Query(f"sum({BUSY}) / {BATCHES}", "seconds")],
                        "s",
                    ),
                ],
            ),
            (
                "Images",
                [
                    chart(
                        "Decoding and tiling",
                        "In the sandboxed pool, including the wait for a free process.",
                        quantiles("patchbay_stage_duration_seconds", 0.5, 0.95, labels=stage("decode")),
                        "s",
                    ),
                    chart(
                        "Wait for the device",
                        "From tiles ready to the start of the batch.",
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
                        "Images that could not be encoded or decoded, and decoding processes that died.",
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
                    ),
                    chart(
                        "Decoding processes",
                        "What they do. If none is idle for long, images wait: see decode_workers.",
                        [Query("sum by (state) (patchbay_decode_workers{@})", "{{state}}")],
                        "none",
                        stack=True,
                    ),
                    chart(
                        "Formats",
                        "Accepted images, by format.",
                        [Query("sum by (format) (rate(patchbay_images_total{@}[_]))", "{{format}}")],
                        "suffix: images/s",
                        stack=True,
                    ),
                ],
            ),
        ],
    )
