package org.msdedge.cascade.bench

import java.io.File
import java.io.IOException

/** By how much this process's peak of resident memory has grown since this object was made. @throws IOException unknown. */
internal class PeakMemory {
    private val start: Long

    init {
        System.gc()
        try {
            // Sets the peak back to what is resident now; where that is not allowed, growth may come out too small.
            File("/proc/self/clear_refs").writeText("5")
        } catch (_: IOException) {
        }
        start = peakKib()
    }

    /** The growth so far, MiB. */
    fun growthMib(): Double = maxOf(0, peakKib() - start) / 1024.0

    private fun peakKib(): Long =
        File("/proc/self/status").readLines().firstOrNull { it.startsWith("VmHWM:") }?.filter { it in '0'..'9' }?.toLong()
            ?: throw IOException("/proc/self/status does not tell the peak of memory")
}
