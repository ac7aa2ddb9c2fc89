package org.msdedge.tools;

import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;

/**
 * {@code PackApk OUT.apk RESOURCES.ap_ CLASSES.jar NAME=FILE...}: everything in one archive, aligned as Android wants it.
 *
 * <p>Stored, not deflated: resources.arsc and model files on 4 bytes, libraries on 16 KiB (as {@code zipalign -P 16} does,
 * which older Debian has not). Of the jar only what is no class goes along.
 */
public final class PackApk {
    private static final int PAGE = 16384;
    private static final int EXTRA_HEAD = 6;
    private static final long DAY_ONE = 315532800000L + 86400000L; // 1980-01-02: builds are the same at any time

    private PackApk() {}

    public static void main(String[] arguments) throws IOException {
        Map<String, byte[]> entries = new TreeMap<>();
        read(Paths.get(arguments[1]), entries);
        Map<String, byte[]> jar = new TreeMap<>();
        read(Paths.get(arguments[2]), jar);
        jar.forEach((name, data) -> {
            if (!isOfTheBuild(name)) entries.put(name, data);
        });
        for (int i = 3; i < arguments.length; i++) {
            String[] parts = arguments[i].split("=", 2);
            entries.put(parts[0], Files.readAllBytes(Paths.get(parts[1])));
        }
        write(Paths.get(arguments[0]), entries);
    }

    private static void read(Path file, Map<String, byte[]> entries) throws IOException {
        try (ZipInputStream in = new ZipInputStream(Files.newInputStream(file))) {
            for (ZipEntry entry; (entry = in.getNextEntry()) != null; ) {
                if (!entry.isDirectory()) entries.put(entry.getName(), readAll(in));
            }
        }
    }

    private static void write(Path file, Map<String, byte[]> entries) throws IOException {
        CountingStream counted = new CountingStream(new BufferedOutputStream(Files.newOutputStream(file)));
        try (ZipOutputStream out = new ZipOutputStream(counted)) {
            for (Map.Entry<String, byte[]> each : entries.entrySet()) {
                byte[] data = each.getValue();
                ZipEntry entry = new ZipEntry(each.getKey());
                entry.setTime(DAY_ONE);
                if (isStored(each.getKey())) {
                    store(entry, data);
                    out.flush();
                    int alignment = each.getKey().endsWith(".so") ? PAGE : 4;
                    align(entry, counted.count + 30 + each.getKey().getBytes("UTF-8").length, alignment);
                }
                out.putNextEntry(entry);
                out.write(data);
                out.closeEntry();
            }
        }
    }

    private static boolean isOfTheBuild(String name) {
        return name.startsWith("META-INF/") || name.endsWith(".class") || name.contains(".kotlin_");
    }

    private static boolean isStored(String name) {
        return name.endsWith(".so") || name.equals("resources.arsc") || name.endsWith(".tflite") || name.endsWith(".onnx");
    }

    private static void store(ZipEntry entry, byte[] data) {
        CRC32 crc = new CRC32();
        crc.update(data);
        entry.setMethod(ZipEntry.STORED);
        entry.setSize(data.length);
        entry.setCompressedSize(data.length);
        entry.setCrc(crc.getValue());
    }

    /** Pads the entry's extra field (0xd935, as zipalign's) so that what begins at {@code start} without it is aligned. */
    private static void align(ZipEntry entry, long start, int alignment) {
        int padding = (int) ((alignment - start % alignment) % alignment);
        if (padding == 0) return;
        while (padding < EXTRA_HEAD) padding += alignment;
        byte[] extra = new byte[padding];
        put(extra, 0, 0xd935);
        put(extra, 2, padding - 4);
        put(extra, 4, alignment);
        entry.setExtra(extra);
    }

    private static void put(byte[] into, int at, int value) {
        into[at] = (byte) value;
        into[at + 1] = (byte) (value >> 8);
    }

    private static byte[] readAll(InputStream in) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] piece = new byte[1 << 16];
        for (int read; (read = in.read(piece)) > 0; ) out.write(piece, 0, read);
        return out.toByteArray();
    }

    private static final class CountingStream extends FilterOutputStream {
        private long count;

        CountingStream(OutputStream out) {
            super(out);
        }

        @Override
        public void write(int value) throws IOException {
            out.write(value);
            count++;
        }

        @Override
        public void write(byte[] data, int start, int length) throws IOException {
            out.write(data, start, length);
            count += length;
        }
    }
}
