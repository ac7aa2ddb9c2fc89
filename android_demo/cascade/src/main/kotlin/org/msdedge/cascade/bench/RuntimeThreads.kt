package org.msdedge.cascade.bench

import java.io.File
import java.io.IOException

/**
 * Counts the threads of the operating system that a runtime starts. Made before the runtime is loaded: threads that bear
 * the name of one that was there then are the virtual machine's own (compilers, collectors), which come and go.
 */
internal class RuntimeThreads {
    private val machine = list().values.map(::stem).toSet()

    /** Returns how many threads compute while what [start] starts is running, the calling one included; null if unknown. */
    fun count(start: () -> AutoCloseable): Int? {
        val before = list().keys
        return start().use {
            val after = list()
            // A thread that was given no name of its own bears that of the one that started it.
            val own = name(File("/proc/thread-self")) ?: return null
            if (after.isEmpty()) null else 1 + (after - before).values.count { it == own || stem(it) !in machine }
        }
    }

    private fun list(): Map<String, String> = File(TASKS).list().orEmpty()
        .mapNotNull { id -> name(File(TASKS, id))?.let { id to it } }
        .toMap()

    private fun name(task: File): String? = try {
        File(task, "comm").readText().trimEnd('\n')
    } catch (_: IOException) {
        null // it has ended meanwhile
    }

    // Of several of a kind only the number at the end differs.
    private fun stem(name: String) = name.trimEnd { it.isDigit() || it == '#' }

    private companion object {
        const val TASKS = "/proc/self/task"
    }
}
