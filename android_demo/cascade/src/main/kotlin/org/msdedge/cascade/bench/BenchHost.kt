package org.msdedge.cascade.bench

import java.io.File
import org.msdedge.cascade.Runtimes

/** Where a measurement runs: the app on a phone, or a stand-in that says so by [playedBy]. */
interface BenchHost {
    /** What the app calls `files/`. */
    val files: File
    val runtimes: Runtimes
    val playedBy: String?
    val packageName: String
    val versionName: String
    val versionCode: Long

    /** Tells progress: one line of JSON. */
    fun step(json: String)

    /** Processor milliseconds that this process has used, null if unknown. */
    fun processorMs(): Long?

    /** The system's thermal status, 0 (none) … 6 (shutdown), null if unknown. */
    fun thermal(): Int?
}

/** Why there is no result: [error] as the protocol names it, and one sentence. */
class BenchFailure(val error: String, message: String) : Exception(message)
