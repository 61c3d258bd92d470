// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.ResidentImages;
import dev.rekindle.RunStatistics;
import dev.rekindle.Tier;
import io.prometheus.metrics.expositionformats.PrometheusTextFormatWriter;
import io.prometheus.metrics.model.snapshots.CounterSnapshot;
import io.prometheus.metrics.model.snapshots.CounterSnapshot.CounterDataPointSnapshot;
import io.prometheus.metrics.model.snapshots.GaugeSnapshot;
import io.prometheus.metrics.model.snapshots.GaugeSnapshot.GaugeDataPointSnapshot;
import io.prometheus.metrics.model.snapshots.Labels;
import io.prometheus.metrics.model.snapshots.MetricSnapshots;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The statistics of a pool and of runs as Prometheus reads them: base units, totals of the pool's own lifetime. */
final class Metrics {
    private final MetricSnapshots.Builder all = MetricSnapshots.builder();
    private final Map<String, GaugeSnapshot.Builder> gauges = new LinkedHashMap<>();
    private final Map<String, CounterSnapshot.Builder> counters = new LinkedHashMap<>();

    /** Nothing where no pool answers, which is a value too. */
    void pool(@Nullable PoolView pool) {
        gauge("rekindle_pool_up", "Whether a pool answers at the socket.", Labels.EMPTY, pool == null ? 0 : 1);
        if (pool == null) {
            return;
        }
        Labels none = Labels.EMPTY;
        gauge(
                "rekindle_pool_uptime_seconds",
                "Time since the pool started.",
                none,
                pool.uptimeSeconds().toNanos() / 1e9);
        gauge("rekindle_pool_contexts", "Warm contexts.", none, pool.contexts());
        gauge("rekindle_pool_workers", "Copy workers.", none, pool.workers());
        gauge("rekindle_pool_runs", "Runs under way.", none, pool.runs());
        gauge("rekindle_pool_ring_bytes", "Size of the pinned copy buffers.", none, pool.ringBytes());
        gauge("rekindle_pool_device_held_bytes", "Device memory that the pool holds.", none, pool.deviceHeldBytes());
        gauge("rekindle_pool_pinned_held_bytes", "Images in pinned memory.", none, pool.pinnedHeldBytes());
        gauge("rekindle_pool_simulated", "Whether the driver is the simulated one.", none, pool.simulated() ? 1 : 0);
        counter("rekindle_pool_restored_processes", "Processes restored.", none, pool.restores());
        counter("rekindle_pool_checkpointed_processes", "Processes checkpointed.", none, pool.checkpoints());
        counter("rekindle_pool_copied_to_device_bytes", "Bytes copied to devices.", none, pool.toDeviceBytes());
        counter("rekindle_pool_copied_from_device_bytes", "Bytes copied from devices.", none, pool.fromDeviceBytes());
        restoredImages("resident", pool.imagesResident());
        restoredImages("pinned", pool.imagesPinned());
        restoredImages("read", pool.imagesRead());
        madeRoom("pinned", pool.movedToPinned());
        madeRoom("file", pool.givenUp());
        counter(
                "rekindle_pool_expired",
                "Folders whose prefetched images nobody took within REKINDLE_PREFETCH_EXPIRY.",
                none,
                pool.expired());
        counter(
                "rekindle_pool_expired_bytes",
                "Memory of images that nobody took within REKINDLE_PREFETCH_EXPIRY.",
                none,
                pool.expiredBytes());
        pool.gpus().forEach(this::gpu);
        for (ResidentImages.State state : ResidentImages.State.values()) {
            for (Tier tier : Tier.values()) {
                images(
                        pool.images().stream()
                                .filter(of -> of.state() == state && of.tier() == tier)
                                .toList(),
                        Texts.lower(state),
                        Texts.lower(tier));
            }
        }
    }

    private void restoredImages(String found, long count) {
        counter(
                "rekindle_pool_restored_images",
                "GPU images restored: resident in device memory already, copied from pinned memory, or read.",
                Labels.of("found", found),
                count);
    }

    private void madeRoom(String stay, long count) {
        counter(
                "rekindle_pool_made_room",
                "Folders whose images made room for others: they stay in pinned memory, or in the files only.",
                Labels.of("stay", stay),
                count);
    }

    private void gpu(PoolView.Gpu gpu) {
        Labels labels = Labels.of("gpu", String.valueOf(gpu.number()), "uuid", gpu.uuid());
        gauge("rekindle_pool_gpu_warm", "Whether the pool has a warm context on the GPU.", labels, gpu.warm() ? 1 : 0);
        gauge("rekindle_pool_gpu_held_bytes", "Memory of the GPU that the pool holds.", labels, gpu.heldBytes());
        gauge("rekindle_pool_gpu_memory_bytes", "All memory of the GPU.", labels, gpu.memoryBytes());
        Long free = gpu.freeBytes();
        if (free != null) {
            gauge("rekindle_pool_gpu_free_bytes", "Memory of the GPU that nobody uses.", labels, free);
        }
    }

    /** Of all folders in one state and one kind of memory, whose number has no bound. */
    private void images(List<PoolView.Images> images, String state, String tier) {
        for (boolean taken : new boolean[] {false, true}) {
            List<PoolView.Images> some =
                    images.stream().filter(of -> of.taken() == taken).toList();
            Labels labels = Labels.of("state", state, "taken", String.valueOf(taken), "tier", tier);
            gauge(
                    "rekindle_pool_images",
                    "GPU images in device or pinned memory: filling, filled or failed, and whether a run has them.",
                    labels,
                    some.stream().mapToInt(PoolView.Images::processes).sum());
            gauge(
                    "rekindle_pool_images_bytes",
                    "Size of those GPU images in memory.",
                    labels,
                    some.stream().mapToLong(PoolView.Images::bytes).sum());
            gauge(
                    "rekindle_pool_images_filled_bytes",
                    "How much of that is filled.",
                    labels,
                    some.stream().mapToLong(PoolView.Images::filledBytes).sum());
        }
    }

    /** The last run of a kind in a work folder. */
    void run(Path folder, RunStatistics run) {
        Labels labels = Labels.of("directory", folder.toString(), "kind", Texts.lower(run.kind()));
        gauge("rekindle_run_success", "Whether the last run succeeded.", labels, run.succeeded() ? 1 : 0);
        gauge(
                "rekindle_run_duration_seconds",
                "How long it took.",
                labels,
                run.duration().toNanos() / 1e9);
        gauge(
                "rekindle_run_overlap_seconds",
                "GPU copying hidden behind CRIU.",
                labels,
                run.overlap().toNanos() / 1e9);
        gauge("rekindle_run_device_bytes", "Device memory outside the process image.", labels, run.deviceBytes());
        gauge("rekindle_run_host_bytes", "Size of CRIU's pages images.", labels, run.hostBytes());
        gauge("rekindle_run_gpu_image_bytes", "Stored size of the GPU images.", labels, run.imageBytes());
        gauge("rekindle_run_pool_warm", "Whether the pool was warm.", labels, run.poolWarm() ? 1 : 0);
        gauge(
                "rekindle_run_frozen_seconds",
                "How long the tree stood still.",
                labels,
                run.criu().frozenTime().toNanos() / 1e9);
    }

    private void gauge(String name, String help, Labels labels, Number value) {
        gauges.computeIfAbsent(name, key -> GaugeSnapshot.builder().name(name).help(help))
                .dataPoint(GaugeDataPointSnapshot.builder()
                        .labels(labels)
                        .value(value.doubleValue())
                        .build());
    }

    private void counter(String name, String help, Labels labels, Number value) {
        counters.computeIfAbsent(
                        name, key -> CounterSnapshot.builder().name(name).help(help))
                .dataPoint(CounterDataPointSnapshot.builder()
                        .labels(labels)
                        .value(value.doubleValue())
                        .build());
    }

    byte[] text() throws IOException {
        gauges.values().forEach(gauge -> all.metricSnapshot(gauge.build()));
        gauges.clear();
        counters.values().forEach(counter -> all.metricSnapshot(counter.build()));
        counters.clear();
        var bytes = new ByteArrayOutputStream();
        PrometheusTextFormatWriter.create().write(bytes, all.build());
        return bytes.toByteArray();
    }
}
