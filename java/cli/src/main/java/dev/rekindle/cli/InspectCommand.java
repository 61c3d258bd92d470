// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import dev.rekindle.CheckpointImage;
import dev.rekindle.PhaseKind;
import dev.rekindle.pages.Page;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "inspect",
        aliases = "show",
        mixinStandardHelpOptions = true,
        description =
                "Show what a checkpoint holds, without restoring it: one of Rekindle or of CRIU alone, or the export of a"
                        + " container.")
final class InspectCommand implements Callable<Integer> {
    @Mixin
    private Output output;

    @Parameters(
            index = "0",
            paramLabel = "DIR|FILE.tar",
            description =
                    "Where the images are: a folder, or what 'podman container checkpoint --export' has written, also"
                            + " compressed.")
    private Path path;

    @Option(names = "--tree", description = "Show the process tree, with command lines, instead of a table.")
    private boolean tree;

    @Option(names = "--files", description = "Show the 20 largest files too.")
    private boolean files;

    @Option(names = "--allocations", description = "Show each device allocation too.")
    private boolean allocations;

    @Option(
            names = "--contents",
            description =
                    "Read the process memory too, and say how much of it is zero or there twice. Of device memory that is"
                            + " known without.")
    private boolean contents;

    @Option(
            names = "--verify",
            description =
                    "Read the files and compare their checksums. This and --contents unpack an archive into the folder"
                            + " for temporary files (TMPDIR).")
    private boolean verify;

    @Option(names = "--html", paramLabel = "FILE", description = "Write a page with charts too.")
    private @Nullable Path page;

    @Override
    public Integer call() throws IOException, InterruptedException {
        if (page != null) {
            Page.check(page, path);
        }
        try (ImageSource source = ImageSource.open(path)) {
            ImageView view = view(source);
            if (page != null) {
                InspectPage.write(page, view);
            }
            output.print(
                    view, out -> InspectReport.print(view, new InspectReport.Parts(tree, files, allocations), out));
            return 0;
        }
    }

    private ImageView view(ImageSource source) throws IOException, InterruptedException {
        if (verify || contents) {
            try (Progress progress = new Progress("unpack", output.err())) {
                source.unpackAll(progress);
            }
        }
        CheckpointImage image = source.image();
        Long verified = verify ? source.named(() -> verify(image)) : null;
        if (!contents) {
            return ImageView.of(source, image, verified, null);
        }
        try (Progress progress = new Progress("read", output.err())) {
            long[] before = {0};
            return ImageView.of(source, image, verified, pages -> {
                PageContents found = PageContents.of(
                        pages, done -> progress.onProgress(before[0] + done, image.hostBytes(), PhaseKind.NONE));
                before[0] += Files.size(pages);
                return found;
            });
        }
    }

    private Long verify(CheckpointImage image) {
        try (Progress progress = new Progress("verify", output.err())) {
            return image.verify(progress);
        }
    }
}
