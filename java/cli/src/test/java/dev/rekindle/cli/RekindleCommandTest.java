// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.rekindle.AgentState;
import dev.rekindle.CudaState;
import dev.rekindle.ErrorCode;
import dev.rekindle.ObstacleKind;
import dev.rekindle.PhaseKind;
import dev.rekindle.cli.Cli.Outcome;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;

/** The commands, on a process without CUDA and on the pool of the simulated driver. */
class RekindleCommandTest {
    @TempDir
    private Path folder;

    private Outcome run(String... arguments) {
        return new Cli(folder).run(arguments);
    }

    @Test
    void checkpointInspectStatsAndRestore() throws Exception {
        Process process = sleeper();
        String pid = String.valueOf(process.pid());
        String images = folder.resolve("images").toString();
        try {
            Outcome dumped = run("checkpoint", pid, images, "--timeout", "30");
            assertThat(dumped.exitCode()).as(dumped.err()).isZero();
            assertThat(dumped.out()).contains("checkpoint done in").doesNotContain("pages written");
            process.waitFor();

            assertThat(run("inspect", images).out())
                    .contains("PID")
                    .contains("sleep")
                    .contains("host memory");
            assertThat(run("inspect", images, "--tree").out()).contains("sleep (" + pid + "): 1 threads");
            assertThat(run("stats", "checkpoint", images).out())
                    .contains("checkpoint done in")
                    .contains("pages written");

            Outcome restored = run("restore", images, "--print-stats");
            assertThat(restored.exitCode()).as(restored.err()).isZero();
            assertThat(restored.out()).contains("pages restored");
            assertThat(restored.out().strip().lines().toList().getLast()).isEqualTo(pid);
            assertThat(ProcessHandle.of(process.pid())).isPresent();
        } finally {
            ProcessHandle.of(process.pid()).ifPresent(ProcessHandle::destroyForcibly);
        }
    }

    @Test
    void poolStartsAnswersAndStops() {
        Outcome started =
                run("pool", "start", "--log", folder.resolve("pool.log").toString());
        assertThat(started.exitCode()).as(started.err()).isZero();
        assertThat(started.out()).containsPattern("rekindled runs with pid \\d+ and 1 warm contexts");
        assertThat(run("pool", "status").out()).contains("SIMULATED GPU").contains("WORKERS");
        assertThat(run("pool", "stop").out()).contains("has ended");
        Outcome none = run("pool", "status");
        assertThat(none.exitCode()).isEqualTo(14);
        assertThat(none.err()).startsWith("rekindle: ").contains("pool.sock");
    }

    @Test
    void machineThatCan() {
        assertThat(run("check").out()).contains("looks good");
    }

    @Test
    void treeThatCanAndOneThatCannot() throws Exception {
        Process process = sleeper();
        Process other = new ProcessBuilder(
                        "setsid", "bash", "-c", "exec 5<>file; head -c 3M /dev/zero >&5; rm file; exec sleep 1000")
                .directory(folder.toFile())
                .start();
        try {
            Outcome can = run("check", String.valueOf(process.pid()));
            assertThat(can.exitCode()).as(can.err()).isZero();
            assertThat(can.out())
                    .contains("PID")
                    .contains("sleep")
                    .contains("nothing of what was looked for is in the way");
            Cli.await("the shell to be done", () -> {
                Outcome outcome = run("check", String.valueOf(other.pid()));
                return outcome.exitCode() != 0 && outcome.out().contains("sleep");
            });
            Outcome cannot = run("check", String.valueOf(other.pid()));
            assertThat(cannot.exitCode()).as(cannot.err()).isEqualTo(1);
            assertThat(cannot.out()).contains("deleted file").contains("--ghost-limit 4M");
            JsonObject tree =
                    run("check", String.valueOf(other.pid()), "--json").json();
            assertThat(tree.get("usable").getAsBoolean()).isFalse();
            JsonObject first = tree.getAsJsonArray("processes").get(0).getAsJsonObject();
            assertThat(first.get("pid").getAsLong()).isEqualTo(other.pid());
            JsonObject obstacle = tree.getAsJsonArray("obstacles").get(0).getAsJsonObject();
            assertThat(obstacle.get("kind").getAsString()).isEqualTo("ghost_file");
            Outcome allowed = run("check", String.valueOf(other.pid()), "--criu-argument=--ghost-limit=8M");
            assertThat(allowed.exitCode()).as(allowed.out() + allowed.err()).isZero();
            for (String option : List.of("--ghost-limit=8M", "--preset=inference")) {
                allowed = run("check", String.valueOf(other.pid()), option);
                assertThat(allowed.exitCode())
                        .as(option + allowed.out() + allowed.err())
                        .isZero();
            }
            // What is said for criu itself goes before the preset.
            assertThat(run(
                                    "check",
                                    String.valueOf(other.pid()),
                                    "--preset=inference",
                                    "--criu-argument=--ghost-limit=2M")
                            .exitCode())
                    .isEqualTo(1);
        } finally {
            process.destroyForcibly().waitFor();
            other.destroyForcibly().waitFor();
        }
    }

    /** Exit status, command, and what its one sentence has to name. FOLDER is a folder of the test. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            7 | check --criu FOLDER/no-criu                      | no-criu
            2 | check --plugin-dir FOLDER/nothing                | cuda_plugin.so
            2 | check --config FOLDER/no.conf                    | no.conf
            9 | check --cuda-driver FOLDER/libcuda.so.1          | libcuda.so.1
            2 | check no-number                                  | no-number
            5 | check 4194305                                    | 4194305
            5 | checkpoint 4194305 FOLDER/images                 | no such process
            2 | checkpoint 1 FOLDER/images                       | 1 is no pid
            2 | checkpoint -- -7 FOLDER/images                   | -7
            2 | checkpoint 4194305 FOLDER/images --timeout -1    | timeout
            2 | checkpoint 4194305 FOLDER/images --timeout 99999999999 | timeout
            2 | checkpoint 4194305 FOLDER/images --log-level 9   | log level 9
            2 | checkpoint no-number FOLDER/images               | no-number
            2 | checkpoint 4194305                               | DIR
            2 | checkpoint 4194305 FOLDER/images --timeout soon  | soon
            2 | checkpoint 4194305 FOLDER/images --no-such-option | --no-such-option
            2 | dump 4194305 FOLDER/images --preset training     | training
            2 | dump 4194305 FOLDER/images --criu-argument       | --criu-argument
            2 | dump 4194305 FOLDER/images -R -s                 | --leave-stopped
            2 | dump 4194305 FOLDER/images -R --park device      | --park device
            2 | dump 4194305 FOLDER/images -s --park device      | --park device
            2 | dump 4194305 FOLDER/images --tcp-established --tcp-close | --tcp-close
            2 | dump 4194305 FOLDER/images -q --print-stats      | --print-stats
            2 | dump 4194305 FOLDER/images --ghost-limit much    | much
            2 | check 4194305 --tcp-established --tcp-close      | --tcp-close
            2 | check --file-locks                               | --file-locks
            2 | check --ghost-limit 1G                           | --ghost-limit
            2 | restore FOLDER/none --tcp-established --tcp-close | --tcp-close
            2 | restore FOLDER/none -q --print-stats             | --print-stats
            7 | restore FOLDER/empty --criu FOLDER/file          | FOLDER/file
            11 | restore FOLDER/none                             | none
            2 | restore FOLDER/file                              | file
            11 | restore FOLDER/empty                            | holds no checkpoint
            11 | restore FOLDER/empty --cleanup                  | holds no checkpoint
            2 | restore FOLDER/empty --log-file a/b              | a/b
            2 | restore FOLDER/empty --restore-threads 1025      | 1025
            2 | restore FOLDER/empty --restore-threads many      | many
            2 | restore FOLDER/empty --restore-hugepages perhaps | option '--restore-hugepages'
            2 | restore FOLDER/empty --restore-thp perhaps       | option '--restore-thp'
            2 | dump 4194305 FOLDER/images --ghost-limit foo     | --ghost-limit foo
            2 | check 4194305 --ghost-limit 4MB                  | 4MB
            2 | check abc                                        | is no number
            2 | restore FOLDER/empty --gpu 0=first              | 0=first
            2 | restore                                          | DIR
            11 | inspect FOLDER/none                             | none
            2 | inspect FOLDER/file                              | file
            11 | inspect FOLDER/empty --verify                   | empty
            2 | inspect                                          | DIR
            2 | inspect FOLDER/empty --html FOLDER/none/x        | none/x
            11 | stats checkpoint FOLDER/none                    | none
            11 | stats restore FOLDER/empty                      | no statistics of a restore
            2 | stats both FOLDER/empty                          | both
            2 | stats checkpoint                                 | DIR
            2 | run                                              | COMMAND
            2 | run -- FOLDER/no-program                         | FOLDER/no-program
            2 | run no-such-program-anywhere --json              | in PATH
            2 | run -C FOLDER/none -- true                       | FOLDER/none
            2 | run -o FOLDER/none/log -- true                   | FOLDER/none/log
            6 | run -o /sys/x.log -- true                        | /sys/x.log
            2 | run --env NAME -- true                           | NAME
            2 | pool start --program FOLDER/no-pool              | FOLDER/no-pool
            2 | pool start --program FOLDER/file                 | FOLDER/file
            2 | pool start --program /bin/true --log FOLDER/none/pool.log | none/pool.log
            15 | pool start --program /bin/true                  | exit code 0
            14 | pool status                                     | pool.sock
            14 | pool stop                                       | pool.sock
            14 | pool prefetch FOLDER/empty                      | pool.sock
            14 | pool drop FOLDER/empty                          | pool.sock
            2 | pool prefetch                                    | DIR
            2 | pool                                             | subcommand
            2 | pool dance                                       | dance
            2 | pool start --log                                 | --log
            2 | pool status FOLDER/empty                         | FOLDER/empty
            2 | pool stop FOLDER/empty                           | FOLDER/empty
            2 | pool drop                                        | DIR
            11 | swap FOLDER/empty FOLDER/none                   | none
            2 | swap FOLDER/empty FOLDER/empty                   | same folder
            2 | swap FOLDER/none FOLDER/empty/../none            | same folder
            2 | swap FOLDER/empty FOLDER/none --tcp-established --tcp-close | --tcp-close
            2 | swap FOLDER/empty FOLDER/none -q --print-stats   | --print-stats
            2 | swap FOLDER/empty FOLDER/none --ghost-limit much | much
            2 | swap FOLDER/empty                                | B
            2 | swap FOLDER/empty FOLDER/none --health-url ftp://x | ftp
            2 | swap FOLDER/empty FOLDER/none --health-url http:x | http:x
            2 | swap FOLDER/empty FOLDER/none --health-url http://x:65536/ | 65536
            2 | swap FOLDER/empty FOLDER/none --health-url http:///ready | http:///ready
            2 | swap FOLDER/empty FOLDER/none --health-url x | no http
            2 | bench -- sleep 9                                 | --health-url
            2 | bench --net-namespace --health-url http://x -- sleep 9 | --health-command
            2 | bench --health-command true                      | COMMAND
            2 | bench --health-command true -- FOLDER/no-program | no-program
            2 | bench --health-command true --no-stock --stock-criu criu -- true | --no-stock
            2 | bench --health-command true --no-stock --stock-plugin-dir FOLDER -- true | --no-stock
            2 | bench --health-command true --tcp-established --tcp-close -- true | --tcp-close
            2 | bench --health-command true --ghost-limit much -- true | much
            2 | bench --health-command true --rounds 0 -- true   | --rounds
            2 | bench --health-command true --work FOLDER -- true | not empty
            2 | bench --health-command true --html FOLDER/none/x -- true | none/x
            2 | bench --health-command true --stock-plugin-dir FOLDER/none -- true | FOLDER/none
            2 | report FOLDER/file                               | --output
            2 | report FOLDER/file -o FOLDER/x.html              | bench --json': Expected BEGIN_OBJECT
            2 | report FOLDER/empty -o FOLDER/x.html             | FOLDER/empty
            2 | report FOLDER/latin -o FOLDER/x.html             | FOLDER/latin
            2 | report FOLDER/file -o FOLDER/none/x.html         | none/x.html
            2 | report FOLDER/none.json -o FOLDER/x.html         | none.json
            2 | cdi --agent-minimum 1023                         | 1023
            16 | cdi --output /dev/full                          | /dev/full
            2 | cdi --output FOLDER/none/x.json                  | no folder FOLDER/none
            2 | report FOLDER/file -o FOLDER/empty/../file       | made of
            2 | inspect FOLDER/file --html FOLDER/file           | made of
            2 | cdi --agent-minimum 4MB                          | 4MB
            2 | cdi --agent-minimum 99999999999G                 | 99999999999G
            2 | metrics FOLDER/none                              | FOLDER/none
            2 | metrics --listen 65536                           | 65536
            2 | metrics --listen 0 FOLDER/none                   | FOLDER/none
            2 | metrics --listen 0 -o FOLDER/x.prom              | --output
            16 | metrics -o /dev/full                            | /dev/full
            2 | metrics -o FOLDER/none/x.prom                    | x.prom
            2 | doctor --images FOLDER/none                      | FOLDER/none
            2 | doctor FOLDER/empty                              | FOLDER/empty
            2 | report                                           | FILE
            2 | cdi FOLDER/empty                                 | FOLDER/empty
            2 | setup                                            | subcommand
            2 | setup docker                                     | docker
            2 | setup podman --root                              | --root
            2 | setup podman --root FOLDER/none                  | FOLDER/none
            2 | setup podman --undo --root FOLDER/none           | FOLDER/none
            2 | help dance                                       | dance
            2 | dance                                            | dance
            """)
    void badInputIsOneSentence(int exitStatus, String command, String named) throws Exception {
        Files.createDirectory(folder.resolve("empty"));
        Files.writeString(folder.resolve("file"), "no program, and no folder");
        Files.writeString(folder.resolve("latin"), "ä", StandardCharsets.ISO_8859_1);
        String[] words = command.replace("FOLDER", folder.toString()).split(" +", -1);
        Outcome outcome = run(words);
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(exitStatus);
        assertThat(outcome.err()).startsWith("rekindle: ").contains(named.replace("FOLDER", folder.toString()));
        assertThat(outcome.err().strip().lines()).as(outcome.err()).hasSize(1);
        assertThat(outcome.out()).isEmpty();
    }

    /** One of each way to fail, with the same sentence in a document of the schema. */
    @ParameterizedTest
    @CsvSource({
        "check --json --criu /no-criu,criu_not_found,7",
        "dance --json,invalid_argument,2",
        "run --json -- /no-program,invalid_argument,2",
        "pool status --json,pool_unreachable,14",
        "inspect --json /no-folder,no_image,11",
        "pool start --json --program /bin/true,pool_died,15"
    })
    void failureIsADocumentWhereAsked(String command, String code, int exitStatus) {
        Outcome outcome = run(command.split(" ", -1));
        JsonObject error = outcome.json().getAsJsonObject("error");
        assertThat(outcome.exitCode()).isEqualTo(exitStatus);
        assertThat(error.get("code").getAsString()).isEqualTo(code);
        assertThat(error.get("exit_status").getAsInt()).isEqualTo(exitStatus);
        assertThat(outcome.err()).isEqualTo("rekindle: " + error.get("message").getAsString() + "\n");
    }

    @Test
    void argumentsOfAProgramAreItsOwn() throws Exception {
        Path log = folder.resolve("log");
        Path list = Files.writeString(folder.resolve("list"), "another");
        run("run", "-o", log.toString(), "--", "sh", "-c", "echo \"$1\"", "sh", "@" + list);
        assertThat(log).content().isEqualTo("@" + list + "\n");
    }

    @Test
    void programOfAnInterruptedRunIsEnded() {
        Thread.currentThread().interrupt();
        Outcome outcome;
        try {
            outcome = run("run", "-o", folder.resolve("log").toString(), "--", "sh", "-c", "sleep 1000 & wait");
        } finally {
            Thread.interrupted();
        }
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(18);
        Matcher pid = Pattern.compile("interrupted: sh, .* as process (\\d+), was ended")
                .matcher(outcome.err());
        assertThat(pid.find()).as(outcome.err()).isTrue();
        assertThat(ProcessStat.runs(Long.parseLong(pid.group(1)))).isFalse();
    }

    /** What is done is said on the other way. */
    @Test
    void resultThatCannotBeWrittenIsAFailure() throws Exception {
        var cli = new Cli(folder);
        try (var full = new PrintWriter("/dev/full", StandardCharsets.UTF_8)) {
            Outcome outcome = cli.run(full, "run", "-o", folder.resolve("log").toString(), "--", "sleep", "1000");
            Matcher pid = Pattern.compile("rekindle: sleep runs with pid (\\d+), but " + Output.LOST + "\n")
                    .matcher(outcome.err());
            assertThat(pid.matches()).as(outcome.err()).isTrue();
            Cli.kill(Long.parseLong(pid.group(1)));
            assertThat(outcome.exitCode()).isEqualTo(1);
        }
    }

    @Test
    void aLinkStaysOneWhateverItNames() throws Exception {
        Path link = Files.createSymbolicLink(folder.resolve("link"), Path.of("behind"));

        WholeFile.write(link, "first");
        WholeFile.write(link, "second");

        assertThat(link).isSymbolicLink();
        assertThat(folder.resolve("behind")).hasContent("second").isRegularFile();
    }

    @Test
    void aFileOfAnotherUserStaysHis() throws Exception {
        Path file = Files.writeString(folder.resolve("his"), "first");
        Files.setAttribute(file, "unix:uid", 65534);

        WholeFile.write(file, "second");

        assertThat(file).hasContent("second");
        assertThat(Files.getAttribute(file, "unix:uid")).isEqualTo(65534);
    }

    @Test
    void fileThatCannotBeWrittenAsAWholeIsNotThere() {
        Path file = folder.resolve("file");
        assertThatThrownBy(() -> WholeFile.write(file, "€", StandardCharsets.ISO_8859_1))
                .hasMessageContaining(file + " could not be written");
        assertThat(folder).isEmptyDirectory();
    }

    /** The others' values are still worth having, but not all is well. */
    @Test
    void metricsSayWhatTheyLeaveOut() throws Exception {
        Path broken = Files.createDirectory(folder.resolve("broken"));
        Path empty = Files.createDirectory(folder.resolve("empty"));
        Files.writeString(broken.resolve("stats-rekindle.json"), "{");
        Outcome outcome = run("metrics", broken.toString(), empty.toString());
        assertThat(outcome.exitCode()).isNotZero();
        assertThat(outcome.err())
                .startsWith("rekindle: " + broken + " is left out: ")
                .hasLineCount(1);
        assertThat(outcome.out()).contains("rekindle_pool_up 0");
        assertThat(run("metrics", empty.toString()).exitCode()).isZero();
    }

    @Test
    void pathsOfDocumentsAreAbsolute() {
        assertThat(Json.text(new PoolCommand.Images(Path.of("images"), true)))
                .contains("\"directory\": \"" + Path.of("images").toAbsolutePath() + "\"");
    }

    @Test
    void schemaHasTheNamesOfTheLibrary() throws Exception {
        JsonObject documents = JsonParser.parseString(new String(
                        Objects.requireNonNull(Json.class.getResourceAsStream("rekindle-schema.json"))
                                .readAllBytes(),
                        StandardCharsets.UTF_8))
                .getAsJsonObject()
                .getAsJsonObject("$defs");
        JsonObject error = documents
                .getAsJsonObject("failure")
                .getAsJsonObject("properties")
                .getAsJsonObject("error")
                .getAsJsonObject("properties");
        assertThat(names(error.getAsJsonObject("code"))).isEqualTo(names(ErrorCode.values()));
        assertThat(names(error.getAsJsonObject("phase"))).isEqualTo(names(PhaseKind.values()));
        JsonObject tree = documents.getAsJsonObject("check_tree").getAsJsonObject("properties");
        JsonObject process = entries(tree.getAsJsonObject("processes"));
        JsonObject obstacle = entries(tree.getAsJsonObject("obstacles"));
        assertThat(names(process.getAsJsonObject("cuda"))).isEqualTo(names(CudaState.values()));
        assertThat(names(process.getAsJsonObject("agent"))).isEqualTo(names(AgentState.values()));
        assertThat(names(obstacle.getAsJsonObject("kind"))).isEqualTo(names(ObstacleKind.values()));
        for (ErrorCode code : ErrorCode.values()) {
            assertThat(ExitStatus.descriptions()).containsKey(String.valueOf(ExitStatus.of(code)));
        }
    }

    private static JsonObject entries(JsonObject list) {
        return list.getAsJsonObject("items").getAsJsonObject("properties");
    }

    private static Set<String> names(JsonObject list) {
        return list.getAsJsonArray("enum").asList().stream()
                .map(JsonElement::getAsString)
                .collect(Collectors.toSet());
    }

    private static Set<String> names(Enum<?>... values) {
        return Arrays.stream(values)
                .map(value -> value.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.toSet());
    }

    @Test
    void everyCommandHasJsonAndHelp() {
        everyCommandHasJsonAndHelp(RekindleCommand.commandLine());
        assertThat(run("help").out()).contains("Exit status:").contains("doctor");
        assertThat(run("help", "restore").out()).contains("--cleanup");
    }

    private static void everyCommandHasJsonAndHelp(CommandLine command) {
        for (CommandLine subcommand : command.getSubcommands().values()) {
            if (!subcommand.getSubcommands().isEmpty()) {
                everyCommandHasJsonAndHelp(subcommand);
            } else if (!List.of("help", "cdi").contains(subcommand.getCommandName())) {
                assertThat(subcommand.getCommandSpec().optionsMap())
                        .as(subcommand.getCommandName())
                        .containsKeys("--json", "--help");
            }
        }
    }

    /** Of what the arguments name, only that is read. */
    @Test
    void helpOfOneCommandIsTheSameHoweverMuchIsRead() {
        helpIsTheSame(RekindleCommand.commandLine(), List.of());
        assertThat(run("--help").out())
                .isEqualTo(RekindleCommand.commandLine().getUsageMessage())
                .isEqualTo(run("help").out());
        assertThat(run("--version").out()).matches("rekindle \\d+\\.\\d+\\.\\d+\\R");
    }

    private void helpIsTheSame(CommandLine group, List<String> path) {
        group.getSubcommands().forEach((name, command) -> {
            var words = new ArrayList<>(path);
            words.add(name);
            helpIsTheSame(command, words);
            words.add("--help");
            assertThat(run(words.toArray(String[]::new)).out()).isEqualTo(command.getUsageMessage());
        });
    }

    /** A criu of which the pool's statistics say what went wrong: the errno code there becomes one of the library. */
    @ParameterizedTest
    @CsvSource({"-16, 3", "-125, 18", "-110, 17", "-5, 10"})
    void busyHasAnExitStatusOfItsOwn(int failureCode, int exitStatus) throws Exception {
        Path images = folder.resolve("images");
        Path criu = Files.writeString(folder.resolve("criu"), """
                #!/bin/sh
                case "$*" in
                --version) echo "Version: 4.2.1"; exit ;;
                esac
                cd %s || exit 1
                echo '{"kind":"checkpoint","succeeded":false,"failure":"so it is","failure_code":%d,"failure_phase":2}' \
                    >stats-rekindle.json
                exit 1
                """.formatted(images, failureCode));
        assertThat(criu.toFile().setExecutable(true)).isTrue();
        Process process = sleeper();
        try {
            Outcome outcome = run(
                    "checkpoint", "-q", String.valueOf(process.pid()), images.toString(), "--criu", criu.toString());
            assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(exitStatus);
            assertThat(outcome.err()).startsWith("rekindle: so it is");
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void idInUseHasAnExitStatusOfItsOwn() throws Exception {
        Process process = sleeper();
        String images = folder.resolve("images").toString();
        try {
            assertThat(run("checkpoint", String.valueOf(process.pid()), images, "-R")
                            .exitCode())
                    .isZero();
            Outcome outcome = run("restore", images);
            assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(4);
            assertThat(outcome.err()).contains("in use by process " + process.pid() + " (sleep), which runs");
            assertThat(process.isAlive()).isTrue();
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void helpListsTheExitStatuses() {
        assertThat(run("--help").out())
                .contains("Exit status:")
                .containsPattern("(?m)^ +3 +Another run")
                .containsPattern("(?m)^ +4 +Another process")
                .containsPattern("(?m)^ +130, 143 +SIGINT or SIGTERM");
    }

    /** It leads a session already. */
    private static Process sleeper() throws IOException {
        Process process = new ProcessBuilder("setsid", "sleep", "1000")
                .redirectInput(new File("/dev/null"))
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .redirectError(ProcessBuilder.Redirect.DISCARD)
                .start();
        Path name = Path.of("/proc", String.valueOf(process.pid()), "comm");
        Cli.await("the process to sleep", () -> Files.readString(name).equals("sleep\n"));
        return process;
    }
}
