package org.msdedge.cascade

import java.io.File

/** What the Python side made for this build, see `maven/make_fixtures.py`. */
internal object Fixtures {
    val folder: File by lazy {
        val named = System.getProperty("msdedge.fixtures") ?: error("run by Maven, which names the fixtures")
        File(named).also { check(it.isDirectory) { "$it is missing: run scripts/android.sh, which makes it" } }
    }

    @Suppress("UNCHECKED_CAST")
    fun cases(name: String): List<Any?> = Json.parse(File(folder, name).readBytes()) as List<Any?>
}
