// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.CodedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Links of a checkpoint, where something is in the way. */
class LinkRemapsTest {
    @TempDir
    private Path folder;

    private Path one = Path.of("");
    private Path two = Path.of("");

    /** A files.img that names two links, which are beside it. */
    @BeforeEach
    void makeLinks() throws IOException {
        one = Files.createFile(folder.resolve("link_remap.1"));
        two = Files.createFile(folder.resolve("link_remap.2"));
        var image = new ByteArrayOutputStream();
        image.write(new byte[8]);
        for (Path link : List.of(one, two)) {
            var name = new ByteArrayOutputStream();
            CodedOutputStream output = CodedOutputStream.newInstance(name);
            output.writeString(6, link.toString().substring(1));
            output.flush();
            var entry = new ByteArrayOutputStream();
            output = CodedOutputStream.newInstance(entry);
            output.writeByteArray(3, name.toByteArray());
            output.flush();
            output = CodedOutputStream.newInstance(image);
            output.writeFixed32NoTag(entry.size());
            output.flush();
            image.write(entry.toByteArray());
        }
        Files.write(folder.resolve("files.img"), image.toByteArray());
    }

    private static Path aside(Path link) {
        return link.resolveSibling(link.getFileName() + ".rekindle-aside");
    }

    @Test
    void allComeBackUnlessRemoved() throws IOException {
        try (LinkRemaps links = LinkRemaps.setAside(folder)) {
            assertThat(links.files()).isEmpty();
            assertThat(one).doesNotExist();
            assertThat(LinkRemaps.of(folder)).containsExactlyInAnyOrder(aside(one), aside(two));
        }
        assertThat(LinkRemaps.of(folder)).containsExactlyInAnyOrder(one, two);
        try (LinkRemaps links = LinkRemaps.setAside(folder)) {
            assertThat(links.remove()).isEmpty();
            assertThat(links.files()).containsExactlyInAnyOrder(one, two);
        }
        assertThat(LinkRemaps.of(folder)).isEmpty();
    }

    @Test
    void oneThatCannotBeMovedLeavesAllInPlace() throws IOException {
        Files.createDirectories(aside(two).resolve("something"));
        assertThatThrownBy(() -> LinkRemaps.setAside(folder)).isInstanceOf(FileAlreadyExistsException.class);
        assertThat(LinkRemaps.of(folder)).containsExactlyInAnyOrder(one, two);
    }

    /** The new checkpoint has a link of that name by now. */
    @Test
    void oneThatCannotBeRemovedIsSaidAndNotPutBack() throws IOException {
        try (LinkRemaps links = LinkRemaps.setAside(folder)) {
            Files.delete(aside(one));
            Files.createDirectories(aside(one).resolve("something"));
            Files.writeString(two, "new");
            assertThat(links.remove())
                    .singleElement()
                    .asString()
                    .contains(aside(one).toString());
            assertThat(links.files()).containsExactly(two);
        }
        assertThat(one).doesNotExist();
        assertThat(two).content().isEqualTo("new");
    }

    @Test
    void oneThatCannotBePutBackDoesNotKeepOthersAway() throws IOException {
        LinkRemaps links = LinkRemaps.setAside(folder);
        Files.createFile(two);
        assertThatThrownBy(links::close).isInstanceOf(FileAlreadyExistsException.class);
        assertThat(one).exists();
    }
}
