// SPDX-License-Identifier: MIT
package dev.rekindle.pages;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.Gson;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;

/**
 * A page in headless Chromium, as people see it: whether its charts are there, whether one letter lies on another, and
 * whether a script fails. For tests; a screenshot of each look is kept in {@code target/pages}, to be looked at.
 */
public final class Browser {
    private static final String PROGRAM = "chromium-headless-shell";
    private static final int WIDE = 1100;
    private static final int PHONE = 390;
    private static final int HEIGHT = 2400;
    private static final double READABLE_PIXELS = 10;
    private static final Pattern LOOK = Pattern.compile("data-look=\"([^\"]*)\"");

    /**
     * A chart.
     *
     * @param width in pixels
     * @param height in pixels
     * @param marks bars and dots in it
     * @param letters size of its letters, in pixels
     */
    public record Chart(double width, double height, int marks, double letters) {}

    /**
     * What was seen.
     *
     * @param charts those of the page
     * @param problems what is ugly, or wrong
     * @param width of the window
     * @param heading the first one
     * @param paper colour behind the text
     * @param ink colour of the text
     */
    public record Look(
            List<Chart> charts, List<String> problems, int width, String heading, String paper, String ink) {}

    private Browser() {}

    /**
     * Fails where a page is not well, on a wide window and on a phone, light and dark.
     *
     * @param page the page
     * @param charts how many it has to have
     * @return what was seen on the wide window
     */
    public static Look assertWell(Path page, int charts) throws IOException, InterruptedException {
        Look light = look(page, WIDE, false);
        Look dark = look(page, PHONE, true);
        for (Look look : List.of(light, dark)) {
            assertThat(look.problems())
                    .as("%s, %d pixels wide", page, look.width())
                    .isEmpty();
            assertThat(look.charts()).as("charts of %s", page).hasSize(charts).allSatisfy(chart -> {
                assertThat(chart.marks()).isPositive();
                assertThat(chart.width()).isGreaterThan(PHONE / 2.0);
                assertThat(chart.height()).isPositive();
                assertThat(chart.letters()).isGreaterThan(READABLE_PIXELS);
            });
            assertThat(look.heading()).isNotBlank();
        }
        assertThat(light.width()).isEqualTo(WIDE);
        assertThat(dark.width()).isEqualTo(PHONE);
        assertThat(dark.paper()).as("dark is another page").isNotEqualTo(light.paper());
        assertThat(dark.ink()).isNotEqualTo(light.ink());
        return light;
    }

    /** What a window of this width shows. What a script of the page says, other than what it shows, is a problem. */
    static Look look(Path page, int width, boolean dark) throws IOException, InterruptedException {
        Path screenshots = Files.createDirectories(Path.of("target/pages"));
        String name = page.getFileName().toString().replaceFirst("\\.html$", "");
        Path screenshot = screenshots
                .resolve("%s-%d-%s.png".formatted(name, width, dark ? "dark" : "light"))
                .toAbsolutePath();
        Files.deleteIfExists(screenshot);
        Path folder = Files.createTempDirectory("rekindle-browser-");
        try {
            Path looked = folder.resolve("page.html");
            Files.writeString(looked, Files.readString(page) + "<script>" + script() + "</script>");
            Path shown = folder.resolve("shown");
            Path said = folder.resolve("said");
            var words = new ArrayList<>(List.of(
                    PROGRAM,
                    "--no-sandbox", // which root cannot have
                    "--disable-gpu",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-quic",
                    "--hide-scrollbars",
                    "--user-data-dir=" + folder.resolve("profile"),
                    "--window-size=%d,%d".formatted(width, HEIGHT),
                    "--enable-logging=stderr",
                    "--v=0",
                    "--dump-dom",
                    "--screenshot=" + screenshot));
            if (dark) {
                words.add("--blink-settings=preferredColorScheme=0");
            }
            words.add(looked.toUri().toString());
            Process browser = new ProcessBuilder(words)
                    .redirectInput(new File("/dev/null"))
                    .redirectOutput(shown.toFile())
                    .redirectError(said.toFile())
                    .start();
            boolean ended = browser.waitFor(120, TimeUnit.SECONDS);
            browser.descendants().forEach(ProcessHandle::destroyForcibly);
            browser.destroyForcibly().waitFor();
            String log = Files.readString(said);
            assertThat(ended).as("%s ended: %s", PROGRAM, log).isTrue();
            assertThat(browser.exitValue()).as(log).isZero();
            Matcher found = LOOK.matcher(Files.readString(shown));
            assertThat(found.find()).as("what was seen, in %s; %s", page, log).isTrue();
            Look look = new Gson()
                    .fromJson(
                            found.group(1)
                                    .replace("&quot;", "\"")
                                    .replace("&nbsp;", " ")
                                    .replace("&amp;", "&"),
                            Look.class);
            var problems = new ArrayList<>(look.problems());
            log.lines().filter(line -> line.contains(":CONSOLE:")).forEach(problems::add);
            if (colours(screenshot).size() < 4) {
                problems.add("nothing is drawn in " + screenshot);
            }
            return new Look(look.charts(), problems, look.width(), look.heading(), look.paper(), look.ink());
        } finally {
            delete(folder);
        }
    }

    private static Set<Integer> colours(Path screenshot) throws IOException {
        var image = Objects.requireNonNull(ImageIO.read(screenshot.toFile()));
        var colours = new HashSet<Integer>();
        for (int y = 0; y < image.getHeight(); y++) {
            for (int x = 0; x < image.getWidth(); x++) {
                colours.add(image.getRGB(x, y));
            }
        }
        return colours;
    }

    private static String script() throws IOException {
        try (InputStream script = Objects.requireNonNull(Browser.class.getResourceAsStream("look.js"))) {
            return new String(script.readAllBytes(), UTF_8);
        }
    }

    /** Processes of the browser's may still write into it. */
    private static void delete(Path folder) {
        for (File file : Objects.requireNonNullElse(folder.toFile().listFiles(), new File[0])) {
            if (file.isDirectory() && !Files.isSymbolicLink(file.toPath())) {
                delete(file.toPath());
            } else {
                file.delete();
            }
        }
        folder.toFile().delete();
    }
}
