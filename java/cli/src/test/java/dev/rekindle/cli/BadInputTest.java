// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import dev.rekindle.cli.Cli.Outcome;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What was wrong is one sentence, and an exit status, whatever the command. */
class BadInputTest {
    @TempDir
    private Path folder;

    private Outcome run(String... arguments) {
        return new Cli(folder).run(arguments);
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
            2 | restore FOLDER/empty --gpu=                      | --gpu names no GPU
            2 | restore                                          | DIR
            11 | inspect FOLDER/none                             | none
            2 | inspect FOLDER/file                              | file
            11 | inspect FOLDER/empty --verify                   | empty
            6 | inspect /proc/self/mem                           | /proc/self/mem cannot be read
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
            2 | swap FOLDER/empty FOLDER/none --health-url http://[x | option '--health-url': 'http://[x' is no address (see
            2 | bench -- sleep 9                                 | --health-url
            2 | bench --net-namespace --health-url http://x -- sleep 9 | --health-command
            2 | bench --health-command true                      | COMMAND
            2 | bench --health-command true -- FOLDER/no-program | no-program
            2 | bench --health-command true --no-stock --stock-criu criu -- true | --no-stock
            2 | bench --health-command true --no-stock --stock-plugin-dir FOLDER -- true | --no-stock
            2 | bench --health-command true --stock-criu FOLDER/file -- true | FOLDER/file that can be run
            2 | bench --health-command true --tcp-established --tcp-close -- true | --tcp-close
            2 | bench --health-command true --ghost-limit much -- true | much
            2 | bench --health-command true --rounds 0 -- true   | --rounds
            6 | bench --health-command true --html /proc/x -- true | name a place where files can be made
            6 | bench --health-command true --work /proc/x -- true | name a place where files can be made
            2 | bench --health-command true --work FOLDER -- true | not empty
            2 | bench --health-command true --work FOLDER/file -- true | FOLDER/file is a file
            2 | bench --health-command true --html FOLDER/none/x -- true | none/x
            2 | bench --health-command true --stock-plugin-dir FOLDER/none -- true | FOLDER/none
            2 | report FOLDER/file                               | --output
            2 | report FOLDER/file -o FOLDER/x.html              | FOLDER/file is no document of 'rekindle bench --json', as
            2 | report FOLDER/empty -o FOLDER/x.html             | FOLDER/empty
            2 | report FOLDER/latin -o FOLDER/x.html             | FOLDER/latin
            2 | report /proc/self/mem -o FOLDER/x.html           | /proc/self/mem is no document of 'rekindle bench --json', as it cannot be read
            2 | report FOLDER/file -o FOLDER/empty               | FOLDER/empty
            2 | report FOLDER/file -o FOLDER/none/x.html         | none/x.html
            2 | report FOLDER/none.json -o FOLDER/x.html         | none.json
            2 | report /dev/zero -o FOLDER/x.html                | larger than 64
            2 | cdi --agent-minimum 1023                         | 1023
            16 | cdi --output /dev/full                          | /dev/full
            2 | cdi --output FOLDER/empty                        | FOLDER/empty is a folder: name a file
            6 | cdi --output /proc/x.json                        | name a place where files can be made
            6 | cdi --output /sys/x.json                         | name a place where files can be made
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
            2 | metrics -o FOLDER/empty                          | FOLDER/empty
            6 | metrics -o /proc/x.prom                          | name a place where files can be made
            6 | metrics -o /sys/x.prom                           | name a place where files can be made
            2 | metrics -o FOLDER/none/x.prom                    | x.prom
            2 | doctor --images FOLDER/none                      | FOLDER/none
            2 | doctor FOLDER/empty                              | FOLDER/empty
            2 | report                                           | FILE
            2 | cdi FOLDER/empty                                 | FOLDER/empty
            2 | setup                                            | subcommand
            2 | setup docker                                     | docker
            2 | setup podman --root                              | --root
            2 | setup podman --root FOLDER/none                  | FOLDER/none
            6 | setup podman --root /proc                        | name a place where files can be made
            6 | setup podman --root /sys                         | name a place where files can be made
            6 | setup podman --root FOLDER/blocked               | FOLDER/blocked/etc/criu could not be made: a file is in its place
            6 | setup podman --root FOLDER/taken                 | FOLDER/taken/etc/rekindle.conf is a folder
            2 | setup podman --undo --root FOLDER/none           | FOLDER/none
            2 | help dance                                       | dance
            2 | dance                                            | dance
            """)
    void badInputIsOneSentence(int exitStatus, String command, String named) throws Exception {
        Files.createDirectory(folder.resolve("empty"));
        Files.createFile(Files.createDirectories(folder.resolve("blocked/etc")).resolve("criu"));
        Files.createDirectories(folder.resolve("taken/etc/rekindle.conf"));
        Files.writeString(folder.resolve("file"), "no program, and no folder");
        Files.writeString(folder.resolve("latin"), "ä", StandardCharsets.ISO_8859_1);
        String[] words = command.replace("FOLDER", folder.toString()).split(" +", -1);
        Outcome outcome = run(words);
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(exitStatus);
        assertThat(outcome.err()).startsWith("rekindle: ").contains(named.replace("FOLDER", folder.toString()));
        assertThat(outcome.err().strip().lines()).as(outcome.err()).hasSize(1);
        assertThat(outcome.out()).isEmpty();
    }

    /** It is no way to say this folder, where others could come to harm. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "checkpoint 4194305 EMPTY",
                "restore EMPTY --cleanup",
                "inspect EMPTY",
                "stats restore EMPTY",
                "swap EMPTY other",
                "doctor --images EMPTY",
                "pool start --log EMPTY",
                "report file -o EMPTY"
            })
    void emptyNameIsNoPath(String command) {
        String[] words = Stream.of(command.split(" ", -1))
                .map(word -> word.equals("EMPTY") ? "" : word)
                .toArray(String[]::new);
        Outcome outcome = run(words);
        assertThat(outcome.exitCode()).as(outcome.err()).isEqualTo(2);
        assertThat(outcome.err()).startsWith("rekindle: ").contains("an empty name is no path");
        assertThat(outcome.err().strip().lines()).hasSize(1);
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
}
