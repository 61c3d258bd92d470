// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class TmpfsMountTest {
    private static final String MOUNTS = """
            22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
            30 28 0:27 / /dev/shm rw,nosuid,nodev shared:3 - tmpfs tmpfs rw,size=24683652k
            31 28 0:28 / /images rw,relatime shared:9 master:1 - tmpfs tmpfs rw,size=1024k,huge=within_size
            """;

    @Test
    void aMountIsFoundByItsDevice() {
        assertThat(TmpfsMount.of(MOUNTS, "0:28"))
                .isEqualTo(new TmpfsMount("/images", "rw,size=1024k,huge=within_size"));
        assertThat(TmpfsMount.of(MOUNTS, "0:28").huge()).isTrue();
        assertThat(TmpfsMount.of(MOUNTS, "0:27").huge()).isFalse();
        assertThat(TmpfsMount.of(MOUNTS, "0:99").huge()).isFalse();
        assertThat(new TmpfsMount("/x", "rw,huge=never").huge()).isFalse();
    }

    @Test
    void theDoctorSaysHowToMountIt() {
        assertThat(FolderDoctor.hugePages(TmpfsMount.of(MOUNTS, "0:27"))).satisfies(finding -> {
            assertThat(finding.status()).isEqualTo(Finding.Status.WARN);
            assertThat(finding.fix()).contains("mount -o remount,huge=within_size /dev/shm;");
        });
        assertThat(FolderDoctor.hugePages(TmpfsMount.of(MOUNTS, "0:28")).status())
                .isEqualTo(Finding.Status.PASS);
    }

    @Test
    void thatOfAFolderIsFound() throws Exception {
        Path memory = Path.of("/dev/shm");
        if (Files.getFileStore(memory).type().equals("tmpfs")) {
            assertThat(TmpfsMount.of(memory).folder()).isEqualTo("/dev/shm");
        }
    }
}
