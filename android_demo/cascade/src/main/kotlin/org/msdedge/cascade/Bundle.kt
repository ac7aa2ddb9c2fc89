package org.msdedge.cascade

import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream
import java.security.MessageDigest

/** Where a bundle's files come from: a folder, an app's assets. */
interface BundleFiles {
    /** What people call this place. */
    val name: String

    /**
     * Opens a file by its path inside the bundle, with forward slashes.
     *
     * @throws FileNotFoundException there is no such file.
     * @throws IOException it cannot be read.
     */
    fun open(path: String): InputStream
}

/** A bundle in a folder. Links that lead out of it are refused. */
class FolderFiles(private val folder: File) : BundleFiles {
    override val name: String get() = folder.name

    override fun open(path: String): InputStream {
        val real = File(folder, path).canonicalFile
        if (!real.path.startsWith(folder.canonicalPath + File.separator)) {
            throw IOException("this link leads out of the bundle")
        }
        if (real.exists() && !real.isFile) throw IOException("the manifest names this as a file, and it is none")
        return real.inputStream()
    }
}

/** An opened bundle: the manifest checked, files handed out only when they are those of the manifest. */
class Bundle private constructor(val files: BundleFiles, val manifest: Manifest, val manifestSha256: String) {
    /**
     * Returns the variant of that name; without a name the first of [preferred] there is, else the first.
     *
     * @throws BundleError there is no such variant.
     */
    fun variant(name: String? = null, preferred: List<String> = PREFERRED): Variant {
        val variants = manifest.variants.associateBy { it.name }
        if (name == null) return preferred.firstNotNullOfOrNull { variants[it] } ?: manifest.variants.first()
        return variants[name]
            ?: throw BundleError("${files.name}: there is no variant $name; this bundle has ${variants.keys.joinToString()}.")
    }

    /** @throws BundleError the file is missing, lies outside the bundle, or is not the one that was exported. */
    fun read(entry: FileEntry): ByteArray = readExact(entry.path, entry.sha256, entry.bytes)

    /** @throws BundleError as [read]. */
    fun readExact(path: String, sha256: String, size: Long): ByteArray {
        val where = "${files.name}/$path"
        val data = readSome(where, path, size)
        if (data.size.toLong() != size) {
            val found = if (data.size > size) "more" else "${data.size} bytes, fewer"
            throw BundleError("$where: the file has $found than the $size bytes of the manifest; export it again.")
        }
        if (sha256(data) != sha256) {
            throw BundleError("$where: the file is not the one that was exported (SHA-256 differs); export the bundle again.")
        }
        return data
    }

    private fun readSome(where: String, path: String, size: Long): ByteArray = try {
        files.open(path).use { readAtMost(it, minOf(size, MOST) + 1) }
    } catch (_: FileNotFoundException) {
        throw BundleError("$where: the manifest names this file, and it is not there; export the bundle again.")
    } catch (problem: IOException) {
        throw BundleError("$where: cannot read this file of the bundle: ${problem.message}.")
    }

    companion object {
        /** The file that makes a folder a bundle. */
        const val MANIFEST = "manifest.json"

        /** The variants taken when none is named. */
        val PREFERRED = listOf("tflite-int8", "onnx-int8")

        private const val MANIFEST_LIMIT = 64L shl 20
        private const val MOST = 1L shl 30

        /**
         * Opens a bundle: reads and checks its manifest. The files are checked when they are read.
         *
         * @throws BundleError the manifest is missing, damaged, contradictory or of a newer schema.
         */
        fun open(files: BundleFiles): Bundle {
            val where = "${files.name}/$MANIFEST"
            val data = try {
                files.open(MANIFEST).use { readAtMost(it, MANIFEST_LIMIT + 1) }
            } catch (_: FileNotFoundException) {
                throw BundleError("${files.name}: this is no bundle, it has no $MANIFEST.")
            } catch (problem: IOException) {
                throw BundleError("$where: cannot read this manifest: ${problem.message}.")
            }
            if (data.size > MANIFEST_LIMIT) throw BundleError("$where: this manifest is larger than a real one can be.")
            return Bundle(files, Manifest.parse(data, where), sha256(data))
        }
    }
}

/** The SHA-256 of [data] in hexadecimal. */
fun sha256(data: ByteArray): String = hex(MessageDigest.getInstance("SHA-256").digest(data))

internal fun hex(bytes: ByteArray): String = buildString(bytes.size * 2) {
    for (byte in bytes) append(DIGITS[byte.toInt() shr 4 and 15]).append(DIGITS[byte.toInt() and 15])
}

private const val DIGITS = "0123456789abcdef"

private fun readAtMost(stream: InputStream, most: Long): ByteArray {
    val out = java.io.ByteArrayOutputStream()
    val piece = ByteArray(1 shl 16)
    while (out.size() < most) {
        val read = stream.read(piece, 0, minOf(piece.size.toLong(), most - out.size()).toInt())
        if (read < 0) break
        out.write(piece, 0, read)
    }
    return out.toByteArray()
}
