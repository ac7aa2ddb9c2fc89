package org.msdedge.cascade.bench

import java.io.File
import java.io.IOException
import org.msdedge.cascade.InputSpec
import org.msdedge.cascade.RawImage
import org.msdedge.cascade.sha256

/** The pushed test images, one file in memory at a time. */
internal class TestImages(private val root: File, private val files: List<ImageFile>, private val input: InputSpec, block: Int) {
    private val size = input.width * input.height * input.channels
    private var loaded = -1
    private var bytes = ByteArray(0)

    /** How many images there are. */
    val count: Int = files.sumOf { it.count }

    init {
        for ((place, file) in files.withIndex()) {
            if (place < files.size - 1 && file.count % block != 0) {
                throw BenchFailure("ConfigError", "${file.path} holds ${file.count} images, no multiple of the $block of a block.")
            }
            load(place)
        }
    }

    /** Returns the images [start] until [end] (or the last); they lie in one file. */
    fun read(start: Int, end: Int): List<RawImage> {
        var first = 0
        var place = 0
        while (start >= first + files[place].count) first += files[place++].count
        if (place != loaded) load(place)
        return List(minOf(end, count) - start) {
            val at = (start - first + it) * size
            RawImage(input.width, input.height, input.channels, bytes.copyOfRange(at, at + size))
        }
    }

    private fun load(place: Int) {
        val file = files[place]
        bytes = try {
            inside(root, file.path).readBytes()
        } catch (problem: IOException) {
            throw BenchFailure("DeviceRunError", "${file.path}: cannot read these test images: ${problem.message}.")
        }
        if (bytes.size != file.count * size || sha256(bytes) != file.sha256) {
            throw BenchFailure("DeviceRunError", "${file.path}: these are not the test images that were pushed; run the command again.")
        }
        loaded = place
    }
}

/** The file at [path] below [root]. */
internal fun inside(root: File, path: String): File {
    val file = File(root, path)
    if (!file.canonicalPath.startsWith(root.canonicalPath + File.separator)) {
        throw BenchFailure("ConfigError", "$path leads out of the app's files.")
    }
    return file
}
