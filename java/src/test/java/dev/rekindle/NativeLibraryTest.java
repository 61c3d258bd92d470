// SPDX-License-Identifier: MIT
package dev.rekindle;

import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static java.nio.file.attribute.PosixFilePermissions.fromString;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.assertj.core.api.ThrowingConsumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the native library comes from, and what is said when it does not come. */
class NativeLibraryTest {
    private static final Path LIBRARY = TestMachine.LIBRARY_FOLDER.resolve("librekindle.so");

    private static final String OTHER_VERSION = "uint32_t rekindle_version_number(void) { return 7003001; }"
            + "const char *rekindle_version(void) { return \"7.3.1\"; }";

    @TempDir
    private Path folder;

    /** Prints the version, or why there is none. */
    static final class ShowVersion {
        public static void main(String[] arguments) {
            try {
                System.out.println("version " + Rekindle.nativeVersion());
            } catch (NativeLibraryException failure) {
                System.out.println("refused: " + failure.getMessage());
            }
        }
    }

    @Test
    void versionIsThatOfTheHeader() {
        assertThat(Rekindle.nativeVersion()).matches("0\\.1\\.\\d+");
    }

    @Test
    void propertyNamesFileOrFolder() throws Exception {
        assertThat(show("-Drekindle.library.path=" + LIBRARY)).startsWith("version 0.1.");
        assertThat(show("-Drekindle.library.path=" + LIBRARY.getParent())).startsWith("version 0.1.");
    }

    @Test
    void propertyThatNamesNothingIsNamed() throws Exception {
        assertThat(show("-Drekindle.library.path=/nowhere/at/all"))
                .contains("/nowhere/at/all")
                .contains("rekindle.library.path");
    }

    @Test
    void libraryPathIsTheLastResort() throws Exception {
        assertThat(show("-Djava.library.path=" + LIBRARY.getParent())).startsWith("version 0.1.");
        assertThat(show("-Djava.library.path=" + folder))
                .contains("refused: librekindle.so was not found")
                .contains(folder.toString())
                .contains("rekindle.library.path");
    }

    /** The sources by rank. One is of another version, and what is below it, or above, is right. */
    @Test
    void propertyGoesBeforeClassPathAndClassPathBeforeLibraryPath() throws Exception {
        Path other = library(OTHER_VERSION);
        Path rightBundle = bundle("right", LIBRARY);
        Path otherBundle = bundle("other", other);
        String rightProperty = "-Drekindle.library.path=" + LIBRARY;
        String otherProperty = "-Drekindle.library.path=" + other;
        String rightLibraryPath = "-Djava.library.path=" + LIBRARY.getParent();
        String otherLibraryPath = "-Djava.library.path=" + other.getParent();
        Path cache = folder.resolve("cache");

        assertThat(show(List.of(otherBundle), rightProperty, otherLibraryPath)).startsWith("version 0.1.");
        assertThat(show(List.of(rightBundle), otherProperty, rightLibraryPath)).contains("refused: " + other + " has");

        assertThat(show(List.of(rightBundle), otherLibraryPath)).startsWith("version 0.1.");
        assertThat(show(List.of(otherBundle), rightLibraryPath)).contains("refused: " + cache);
    }

    @Test
    void classPathBundleIsUnpackedOnce() throws Exception {
        Path bundle = bundle("bundle", LIBRARY);
        Path bin = bundle.resolve("META-INF/rekindle/" + NativeLibrary.platform() + "/bin");
        Files.copy(
                TestMachine.NATIVE.resolve("bin/rekindled"),
                Files.createDirectories(bin).resolve("rekindled"));
        Path cache = folder.resolve("cache");
        for (int i = 0; i < 2; i++) {
            assertThat(show(List.of(bundle), "-Djava.library.path=/nowhere")).startsWith("version 0.1.");
            try (var unpacked = Files.list(cache)) {
                assertThat(unpacked).singleElement().satisfies(one -> {
                    assertThat(one.resolve("lib/librekindle.so")).hasSameBinaryContentAs(LIBRARY);
                    // A run starts it.
                    assertThat(one.resolve("bin/rekindled"))
                            .isExecutable()
                            .hasSameBinaryContentAs(TestMachine.NATIVE.resolve("bin/rekindled"));
                });
            }
        }
    }

    /** Unpacks the bundle, lets somebody change what is there, and returns what is said then. */
    private String showAfter(ThrowingConsumer<Path> change) throws Exception {
        Path bundle = bundle("bundle" + System.nanoTime(), LIBRARY);
        assertThat(show(List.of(bundle), "-Djava.library.path=/nowhere")).startsWith("version 0.1.");
        Path unpacked;
        try (var folders = Files.list(folder.resolve("cache"))) {
            unpacked = folders.findFirst().orElseThrow();
        }
        change.accept(unpacked);
        String shown = show(List.of(bundle), "-Djava.library.path=/nowhere");
        delete(folder.resolve("cache"));
        return shown;
    }

    private static void delete(Path path) throws Exception {
        assertThat(new ProcessBuilder("rm", "-rf", path.toString()).start().waitFor())
                .isZero();
    }

    @Test
    void unpackedFilesThatSomebodyChangedAreNotLoaded() throws Exception {
        Path other = library(OTHER_VERSION);
        String library = "lib/librekindle.so";

        assertThat(showAfter(unpacked -> Files.copy(other, unpacked.resolve(library), REPLACE_EXISTING)))
                .contains("is not the file that was unpacked there");
        assertThat(showAfter(unpacked -> {
                    Files.delete(unpacked.resolve(library));
                    Files.createSymbolicLink(unpacked.resolve(library), LIBRARY);
                }))
                .contains("is a symbolic link");
        assertThat(showAfter(unpacked -> {
                    Files.createDirectories(unpacked.resolve("lib/criu"));
                    Files.copy(other, unpacked.resolve("lib/criu/other.so"));
                }))
                .contains("other.so");
        assertThat(showAfter(
                        unpacked -> Files.setPosixFilePermissions(unpacked.resolve(library), fromString("rwxr-xrwx"))))
                .contains("may be written by others");
        assertThat(showAfter(unpacked -> Files.setPosixFilePermissions(unpacked, fromString("rwxrwx---"))))
                .contains("may be written by others");
        assertThat(showAfter(unpacked -> Files.setPosixFilePermissions(unpacked.getParent(), fromString("rwxrwxrwx"))))
                .contains("may be written by others");
    }

    @Test
    void folderOfAnotherUserIsNotTrusted() throws Exception {
        assumeThat(System.getProperty("user.name")).isEqualTo("root");
        assertThat(showAfter(unpacked -> Files.setAttribute(unpacked.resolve("lib"), "unix:uid", 65534)))
                .contains("belongs to user 65534");
        assertThat(showAfter(unpacked -> Files.setAttribute(unpacked.getParent(), "unix:uid", 65534)))
                .contains("belongs to user 65534")
                .contains("rekindle.cache.directory");
    }

    @Test
    void unpackedFilesAreForTheirUserOnly() throws Exception {
        assertThat(showAfter(unpacked -> {
                    assertThat(Files.getPosixFilePermissions(unpacked.getParent()))
                            .isEqualTo(fromString("rwx------"));
                    assertThat(Files.getPosixFilePermissions(unpacked)).isEqualTo(fromString("rwx------"));
                    assertThat(Files.getPosixFilePermissions(unpacked.resolve("lib")))
                            .isEqualTo(fromString("rwx------"));
                }))
                .startsWith("version 0.1.");
    }

    @Test
    void otherVersionIsRefusedWithBothNamed() throws Exception {
        Path other = library(OTHER_VERSION);
        assertThat(show("-Drekindle.library.path=" + other))
                .contains(other.toString())
                .contains("has version 7.3.1")
                .contains("needs 0.1");
    }

    @Test
    void otherLibraryIsRefused() throws Exception {
        Path other = library("int something_else;");
        assertThat(show("-Drekindle.library.path=" + other)).contains(other + " is no Rekindle library");
    }

    @Test
    void fileThatIsNoLibraryIsRefused() throws Exception {
        Path file = Files.writeString(folder.resolve("librekindle.so"), "not ELF");
        assertThat(show("-Drekindle.library.path=" + file))
                .contains("could not be loaded")
                .contains(file.toString());
    }

    @Test
    void deniedNativeAccessNamesTheFlag() throws Exception {
        ChildJvm.Output output = ChildJvm.runWithoutLog(
                ShowVersion.class,
                List.of("--illegal-native-access=deny", "-Drekindle.library.path=" + LIBRARY),
                List.of());
        assertThat(output.text()).contains("refused:").contains("--enable-native-access=ALL-UNNAMED");
    }

    @Test
    void nulInAPathIsAnException() {
        try (NativeCall call = NativeCall.begin()) {
            assertThatThrownBy(() -> call.string("a\0b"))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("NUL");
        }
    }

    private String show(String option) throws Exception {
        return show(List.of(), option);
    }

    private String show(List<Path> classPath, String... given) throws Exception {
        var options = new ArrayList<>(List.of("--enable-native-access=ALL-UNNAMED", "--illegal-native-access=deny"));
        options.add("-Drekindle.cache.directory=" + folder.resolve("cache"));
        options.addAll(List.of(given));
        return ChildJvm.runWithoutLog(ShowVersion.class, options, classPath).text();
    }

    /** A folder for the class path that holds a library. */
    private Path bundle(String name, Path library) throws Exception {
        Path root = folder.resolve(name + "-bundle");
        Path inside = root.resolve("META-INF/rekindle/" + NativeLibrary.platform() + "/lib");
        Files.createDirectories(inside);
        Files.copy(library, inside.resolve("librekindle.so"));
        return root;
    }

    private Path library(String source) throws Exception {
        Path file = folder.resolve("other/librekindle.so");
        Files.createDirectories(file.getParent());
        Path code = Files.writeString(folder.resolve("other.c"), "#include <stdint.h>\n" + source + "\n");
        Process compiler = new ProcessBuilder("cc", "-shared", "-fPIC", "-o", file.toString(), code.toString())
                .inheritIO()
                .start();
        assertThat(compiler.waitFor()).isZero();
        return file;
    }
}
