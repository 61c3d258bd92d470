// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.Mode;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Each hint where there is a reason for it, and none where there is not. */
class ImageHintsTest {
    private static final long GIB = 1L << 30;
    private static final ImageView.Disk FAST = new ImageView.Disk("ext4", 10 * GIB);

    private static ImageView.TreeProcess process(
            Mode mode, long anonymous, @Nullable PageContents contents, long zero, long repeated) {
        return new ImageView.TreeProcess(
                7,
                1,
                "python3",
                List.of(),
                1,
                1,
                anonymous,
                anonymous,
                0,
                contents,
                mode,
                mode == Mode.NATIVE ? "no agent" : "",
                1,
                20 * GIB,
                20 * GIB - zero,
                0,
                0,
                List.of(),
                List.of(new ImageView.Gpu(0, "H200", "GPU-0", 1, 20 * GIB, zero, repeated, 0)),
                List.of());
    }

    private static List<String> hints(
            ImageView.TreeProcess process,
            ImageView.Disk disk,
            ImageView.@Nullable Archive archive,
            boolean plugin,
            boolean manifest) {
        return ImageHints.of(new ImageView(
                Path.of("images"),
                archive,
                Instant.EPOCH,
                "4.2.1",
                false,
                "H200",
                "GPU-0",
                "CUDA 13.0",
                13000,
                plugin,
                manifest,
                7,
                0,
                0,
                0,
                0,
                0,
                new ImageView.Sizes(30 * GIB, 0, 0, 0, 0),
                List.of(process),
                List.of(),
                disk,
                List.of(),
                null,
                List.of()));
    }

    @Test
    void nothingToSay() {
        var contents = new PageContents(GIB / 2, GIB / 2);
        assertThat(hints(process(Mode.OFFLOAD, GIB, contents, GIB, GIB), FAST, null, true, true))
                .isEmpty();
        var archive = new ImageView.Archive(ImageArchive.Compression.NONE, GIB, 1000, 1000, "", "", List.of());
        assertThat(hints(process(Mode.NONE, 9 * GIB, null, 0, 0), FAST, archive, false, true))
                .isEmpty();
    }

    @Test
    void everythingHasItsHint() {
        var contents = new PageContents(2 * GIB, 0);
        var archive = new ImageView.Archive(ImageArchive.Compression.ZSTD, 60 * GIB, GIB, GIB, "", "", List.of());
        var slow = new ImageView.Disk("nfs4", GIB / 2);
        assertThat(hints(process(Mode.NATIVE, 3 * GIB, contents, 15 * GIB, 2 * GIB), slow, archive, true, false))
                .satisfiesExactly(
                        hint -> assertThat(hint).contains("native mode (no agent)", "'rekindle run'"),
                        hint -> assertThat(hint).contains("3.0 GiB of anonymous host memory", "mmap"),
                        hint -> assertThat(hint).contains("2.0 GiB of zeros"),
                        hint -> assertThat(hint).contains("15.0 GiB of its 20.0 GiB", "KV cache"),
                        hint -> assertThat(hint).contains("2.0 GiB of its device memory are copies"),
                        hint -> assertThat(hint).contains("compressed (zstd)", "--compress none"),
                        hint -> assertThat(hint).contains("--ignore-rootfs"),
                        hint -> assertThat(hint).contains("--ignore-volumes"),
                        hint -> assertThat(hint).contains("512.0 MiB a second", "takes 120 s"),
                        hint -> assertThat(hint).contains("nfs4", "REKINDLE_READ_AHEAD=1"),
                        hint -> assertThat(hint).contains("no manifest"));
        assertThat(hints(process(Mode.NONE, 0, null, 0, 0), FAST, null, true, true))
                .singleElement()
                .satisfies(hint -> assertThat(hint).contains("CRIU's own CUDA plugin"));
    }
}
