// SPDX-License-Identifier: MIT
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassFileVersion;
import java.lang.classfile.ClassHierarchyResolver;
import java.lang.classfile.ClassModel;
import java.lang.classfile.ClassTransform;
import java.lang.classfile.CodeTransform;
import java.lang.constant.ClassDesc;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.stream.Stream;

/**
 * Gives the classes of a jar that are older than Java 6 (picocli is compiled for Java 5) the stack maps of newer ones. The
 * JVM takes no class without them into an AOT cache, and is slow to verify it at each start.
 *
 * <p>{@code java ModernClasses.java JAR}
 */
final class ModernClasses {
    private static final ClassTransform MODERN = ClassTransform.transformingMethodBodies(CodeTransform.ACCEPT_ALL)
            .andThen((builder, element) -> {
                if (element instanceof ClassFileVersion) {
                    builder.withVersion(ClassFile.JAVA_8_VERSION, 0);
                } else {
                    builder.with(element);
                }
            });

    public static void main(String[] arguments) throws IOException {
        try (FileSystem jar = FileSystems.newFileSystem(Path.of(arguments[0]))) {
            Path root = jar.getPath("/");
            var hierarchy = ClassHierarchyResolver.ofResourceParsing((ClassDesc type) -> open(root, type))
                    .orElse(ClassHierarchyResolver.defaultResolver());
            ClassFile format = ClassFile.of(
                    ClassFile.StackMapsOption.GENERATE_STACK_MAPS,
                    ClassFile.ClassHierarchyResolverOption.of(hierarchy));
            int changed = 0;
            for (Path file : classes(root)) {
                ClassModel old = format.parse(Files.readAllBytes(file));
                if (old.majorVersion() < ClassFile.JAVA_6_VERSION) {
                    FileTime time = Files.getLastModifiedTime(file); // the same jar each time
                    Files.write(file, format.transformClass(old, MODERN));
                    Files.setLastModifiedTime(file, time);
                    changed++;
                }
            }
            System.out.println(changed + " classes were older than Java 6");
        }
    }

    private static List<Path> classes(Path root) throws IOException {
        try (Stream<Path> files = Files.walk(root)) {
            return files.filter(file -> file.toString().endsWith(".class")).toList();
        }
    }

    private static InputStream open(Path root, ClassDesc type) {
        String name = type.descriptorString();
        Path file = root.resolve(name.substring(1, name.length() - 1) + ".class");
        try {
            return Files.exists(file) ? Files.newInputStream(file) : null;
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
