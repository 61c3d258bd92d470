// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.Rekindle;
import dev.rekindle.cli.Cli.Outcome;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the doctor says of the parts of the release, with real CRIU. */
class DoctorTest {
    @TempDir
    private Path folder;

    private Outcome doctor(String... options) {
        var words = new ArrayList<>(List.of("doctor"));
        words.addAll(List.of(options));
        return new Cli(folder).run(words.toArray(String[]::new));
    }

    @Test
    void thePluginIsLoadedByThisCriu() {
        assertThat(doctor().out())
                .containsPattern("(?m)^pass  plugin in criu +loaded by /\\S+, version " + Rekindle.version() + "$");
    }

    /** What has its name only: no library, and a library that is another one. */
    @Test
    void anotherPluginIsNamedWithItsRemedy() throws Exception {
        Path plugin = folder.resolve("cuda_plugin.so");
        Files.writeString(plugin, "no library");
        Outcome text = doctor("--plugin-dir", folder.toString());
        assertThat(text.exitCode()).isEqualTo(1);
        assertThat(text.out())
                .containsPattern("(?m)^pass  plugin  ")
                .containsPattern("(?m)^fail  plugin in criu +/\\S+ does not load it: Unable to load " + plugin)
                .contains("to fix: name the folder of this release's plugin with --plugin-dir");
        Files.delete(plugin);
        Files.copy(Cli.NATIVE.resolve("lib/librekindle.so").toRealPath(), plugin);
        assertThat(doctor("--plugin-dir", folder.toString()).out())
                .containsPattern("(?m)^fail  plugin in criu +" + plugin + " is another plugin of that name$");
    }

    @Test
    void aFolderWithoutThePluginIsNotSaidOfCriu() {
        Outcome outcome = doctor("--plugin-dir", folder.toString());
        assertThat(outcome.exitCode()).isEqualTo(1);
        assertThat(outcome.out())
                .containsPattern("(?m)^pass  criu  ")
                .containsPattern("(?m)^pass  criu check +looks good$")
                .containsPattern("(?m)^fail  plugin +The plugin folder " + folder + " holds no readable cuda_plugin.so")
                .doesNotContain("--criu", "plugin in criu");
        assertThat(outcome.out().lines().filter(line -> line.startsWith("fail")))
                .hasSize(1);
    }

    @Test
    void aCriuThatEndsBeforeItsPluginsSaysNothingOfThem() throws Exception {
        Path criu = Files.writeString(
                folder.resolve("criu"), "#!/bin/sh\n[ \"$1\" != --version ] || echo 'Version: 4.2.1'\n");
        assertThat(criu.toFile().setExecutable(true)).isTrue();
        assertThat(doctor("--criu", criu.toString()).out())
                .containsPattern("(?m)^warn  plugin in criu +not known: " + criu + " came to no plugin$");
    }

    /** It has lines that appear only where a folder is named, and says so. */
    @Test
    void howToHaveAFolderLookedAtIsSaid() {
        assertThat(doctor().out())
                .containsPattern("(?m)^pass  images folder +not looked at: with --images DIR ")
                .doesNotContain("images rate");
        assertThat(doctor("--images", folder.toString()).out())
                .contains("images rate", "link_remap files")
                .doesNotContain("not looked at");
    }

    /** The program nft is of no use to a criu without that library, as ours is. */
    @Test
    void whatLocksConnectionsIsWhatThisCriuRuns() {
        assertThat(Doctor.packetFilter(Optional.of(Path.of("/sbin/iptables")), false))
                .extracting(Finding::status)
                .isEqualTo(Finding.Status.PASS);
        Finding none = Doctor.packetFilter(Optional.empty(), false);
        assertThat(none.status()).isEqualTo(Finding.Status.WARN);
        assertThat(none.fix()).isEqualTo("install iptables");
        Finding nftables = Doctor.packetFilter(Optional.empty(), true);
        assertThat(nftables.status()).isEqualTo(Finding.Status.PASS);
        assertThat(nftables.found()).contains("--criu-argument --network-lock --criu-argument nftables");
    }

    @Test
    void whatIsMissingOfRootsCapabilitiesIsNamed() {
        String host = "0          0 4294967295";
        assertThat(Doctor.capabilities("000001ffffffffff", host).status()).isEqualTo(Finding.Status.PASS);
        assertThat(Doctor.capabilities("0000000000000000", host)).satisfies(none -> {
            assertThat(none.status()).isEqualTo(Finding.Status.FAIL);
            assertThat(none.found()).contains("CAP_SYS_ADMIN");
        });
        // As Docker gives them, with --cap-add SYS_ADMIN.
        assertThat(Doctor.capabilities("00000000a82425fb", host)).satisfies(some -> {
            assertThat(some.status()).isEqualTo(Finding.Status.WARN);
            assertThat(some.found()).isEqualTo("no CAP_NET_ADMIN, CAP_SYS_PTRACE");
            assertThat(some.fix()).contains("--privileged");
        });
        assertThat(Doctor.capabilities("000001ffffffffff", "0 1000 1")).satisfies(unprivileged -> {
            assertThat(unprivileged.status()).isEqualTo(Finding.Status.WARN);
            assertThat(unprivileged.found()).isEqualTo("root's, in a user namespace");
        });
    }
}
