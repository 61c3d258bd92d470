// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.rekindle.cli.Cli.Outcome;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What {@code rekindle setup} writes, and that it takes back no more than that. */
class SetupCommandTest {
    private static final String OWN_SETTINGS = "[rekindle]\nCRIU_CUDA_CONTEXT_POOL=0\nREKINDLE_KEPT_STATISTICS=\n";

    @TempDir
    private Path root;

    @Test
    void nothingIsLeftOfIt() throws IOException {
        podman();
        assertThat(root.resolve("etc/criu/runc.conf"))
                .content()
                .contains("libdir /", "\nlink-remap\n", "\nexternal mnt[]\n");
        assertThat(root.resolve("etc/criu/default.conf")).content().doesNotContain("link-remap", "external");
        assertThat(root.resolve("etc/rekindle.conf"))
                .content()
                .contains("[rekindle]\nCRIU_CUDA_CONTEXT_POOL=1\nREKINDLE_KEPT_STATISTICS=/var/log/rekindle\n");
        assertThat(root.resolve("etc/cdi/rekindle.json")).content().contains("LD_PRELOAD=/", "\"rekindle.dev/agent\"");
        podman("--undo");
        try (Stream<Path> files = Files.walk(root)) {
            assertThat(files.filter(Files::isRegularFile)).isEmpty();
        }
    }

    @Test
    void whatIsThereStays() throws IOException {
        Path criu = write("etc/criu/runc.conf", "tcp-established\n");
        Path settings = write("etc/rekindle.conf", OWN_SETTINGS);
        Path device = write("etc/cdi/nvidia.json", "{}\n");
        Path program = write("usr/local/sbin/criu", "somebody's own\n");
        podman();
        podman();
        assertThat(criu).content().startsWith("tcp-established\n").containsOnlyOnce("libdir ");
        assertThat(criu).content().doesNotContain("restore-threads");
        assertThat(settings).content().isEqualTo(OWN_SETTINGS);
        podman("--undo");
        assertThat(criu).content().isEqualTo("tcp-established\n");
        assertThat(device).content().isEqualTo("{}\n");
        assertThat(program).content().isEqualTo("somebody's own\n");
    }

    /** Of any encoding. */
    @Test
    void linesOfOthersStayAsTheyAre() throws IOException {
        Path criu = write("etc/criu/default.conf", "");
        byte[] own = "# für uns\n".getBytes(StandardCharsets.ISO_8859_1);
        Files.write(criu, own);
        podman();
        assertThat(criu).content(StandardCharsets.ISO_8859_1).startsWith("# für uns\n" + MarkedLines.BEGIN);
        podman("--undo");
        assertThat(criu).hasBinaryContent(own);
    }

    /** What is somebody else's gives containers no agent of ours. */
    @Test
    void deviceOfSomebodyElseIsNotOurs() throws IOException {
        write("etc/cdi/rekindle.json", "{}\n");
        assertThat(podman().out()).contains("which stays").doesNotContain("podman run --device");
        Files.delete(root.resolve("etc/cdi/rekindle.json"));
        assertThat(podman().out()).contains("podman run --device");
    }

    /** As Debian has it. CRIU does not restore a mount of a link. */
    @Test
    void linkToTheInitProgramIsFollowed() throws IOException {
        Path program = write("usr/bin/catatonit", "");
        Path link = Files.createDirectories(root.resolve("usr/libexec/podman")).resolve("catatonit");
        Files.createSymbolicLink(link, Path.of("../../bin/catatonit"));
        Path ours = root.resolve("etc/containers/containers.conf.d/rekindle.conf");
        assertThat(new PodmanInit(root).isSettled()).isFalse();
        podman();
        assertThat(ours).content().contains("[containers]\ninit_path=\"/usr/bin/catatonit\"\n");
        assertThat(new PodmanInit(root).isSettled()).isTrue();
        podman("--undo");
        assertThat(ours).doesNotExist();
        write("etc/containers/containers.conf", "[containers]\ninit_path = \"/mine\"\n");
        podman();
        assertThat(ours).doesNotExist();
        Files.delete(program); // the link leads nowhere
        Files.delete(root.resolve("etc/containers/containers.conf"));
        podman();
        assertThat(ours).doesNotExist();
    }

    /** Whatever has come behind ours stays behind it, and under the heading that it was written under. */
    @Test
    void linesOfOursKeepTheirPlace() throws IOException {
        podman();
        Path criu = root.resolve("etc/criu/runc.conf");
        Path settings = root.resolve("etc/rekindle.conf");
        Files.writeString(criu, Files.readString(criu) + "tcp-close\n");
        Files.writeString(settings, "# mine\n" + Files.readString(settings) + "REKINDLE_STREAMS=4\n\n[other]\n");
        String before = Files.readString(settings);
        podman();
        assertThat(criu).content().endsWith("tcp-close\n").containsOnlyOnce("libdir ");
        assertThat(settings).content().isEqualTo(before);
        podman("--undo");
        assertThat(criu).content().isEqualTo("tcp-close\n");
        assertThat(settings).content().isEqualTo("# mine\n[rekindle]\nREKINDLE_STREAMS=4\n\n[other]\n");
    }

    @Test
    void headingOfTheUsersIsUsedAndStays() throws IOException {
        String own = "[other]\nx=1\n[rekindle]\nREKINDLE_STREAMS=4\n[more]\n";
        Path settings = write("etc/rekindle.conf", own);
        podman();
        assertThat(settings)
                .content()
                .containsOnlyOnce("[rekindle]")
                .contains("[rekindle]\n" + MarkedLines.BEGIN
                        + "\nCRIU_CUDA_CONTEXT_POOL=1\nREKINDLE_KEPT_STATISTICS=/var/log/rekindle\n" + MarkedLines.END
                        + "\n");
        podman("--undo");
        assertThat(settings).content().isEqualTo(own);
    }

    /** Whose the lines below it are, nobody can tell: nothing is written at all. */
    @Test
    void beginningWithoutAnEndIsSaid() throws IOException {
        String lines = "libdir /mine\n" + MarkedLines.BEGIN + "\nlibdir /ours\n";
        Path criu = write("etc/criu/runc.conf", lines);
        for (String option : List.of("--json", "--undo")) {
            Outcome outcome = run(option);
            assertThat(outcome.exitCode()).isEqualTo(1);
            assertThat(outcome.err())
                    .contains(criu.toString(), "line 2")
                    .contains("put the line '" + MarkedLines.END + "'")
                    .hasLineCount(1);
            assertThat(criu).content().isEqualTo(lines);
            assertThat(root.resolve("etc/criu/default.conf")).doesNotExist();
        }
    }

    @Test
    void deviceOfSomebodyElsesStays() throws IOException {
        podman();
        Path device = root.resolve("etc/cdi/rekindle.json");
        String own = Files.readString(device).replace("LD_PRELOAD", "REKINDLE_AGENT_MINIMUM=4M\", \"LD_PRELOAD");
        Files.writeString(device, own);
        Outcome outcome = run("--json");
        assertThat(outcome.json().getAsJsonArray("notes").toString()).contains(device.toString());
        assertThat(device).content().isEqualTo(own);
        podman("--undo");
        assertThat(device).content().isEqualTo(own);
    }

    @Test
    void foldersOfSomebodyElsesStay() throws IOException {
        Path empty = Files.createDirectories(root.resolve("etc/cdi"));
        Files.createDirectories(root.resolve("etc/criu"));
        podman("--undo");
        assertThat(empty).isEmptyDirectory();
        assertThat(root.resolve("etc/criu")).isEmptyDirectory();
    }

    private Path write(String name, String content) throws IOException {
        Path file = root.resolve(name);
        Files.createDirectories(file.resolveSibling(""));
        return Files.writeString(file, content);
    }

    private Outcome podman(String... options) {
        Outcome outcome = run(options);
        assertThat(outcome.exitCode()).as(outcome.err()).isZero();
        return outcome;
    }

    private Outcome run(String... options) {
        return new Cli(root)
                .run(Stream.concat(Stream.of("setup", "podman", "--root", root.toString()), Stream.of(options))
                        .toArray(String[]::new));
    }
}
