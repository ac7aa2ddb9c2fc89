package org.msdedge.standin

import java.io.File
import java.io.PrintStream
import java.lang.management.ManagementFactory
import kotlin.system.exitProcess
import org.msdedge.cascade.bench.Bench
import org.msdedge.cascade.bench.BenchFailure
import org.msdedge.cascade.bench.BenchHost
import org.msdedge.runners.presentRuntimes

/**
 * Plays `am instrument -w -r` for one measurement, with the app's own classes: FILES_DIR CONFIG NONCE.
 *
 * Standard output holds what `am` prints and nothing else; what runtimes print goes to standard error.
 */
fun main(arguments: Array<String>) {
    if (arguments.size != 3) {
        System.err.println("stand-in: FILES_DIR CONFIG NONCE are needed; see docs/device-protocol.md.")
        exitProcess(2)
    }
    val out = System.out
    System.setOut(System.err)
    val (files, config, nonce) = arguments
    play(File(files), config, nonce, out)
    out.flush()
    exitProcess(0) // runtimes keep threads of their own
}

internal fun play(files: File, config: String, nonce: String, out: PrintStream) {
    val code = try {
        val sha256 = Bench(JvmHost(files, out), config, nonce).run()
        result(out, "nonce", nonce)
        result(out, "sha256", sha256)
        result(out, "end", "msd-edge-complete")
        -1
    } catch (problem: BenchFailure) {
        result(out, "nonce", nonce)
        result(out, "error", problem.error)
        result(out, "message", problem.message!!)
        0
    }
    out.println("INSTRUMENTATION_CODE: $code")
}

private fun result(out: PrintStream, key: String, value: String) = out.println("INSTRUMENTATION_RESULT: $key=$value")

private class JvmHost(override val files: File, private val out: PrintStream) : BenchHost {
    override val runtimes = presentRuntimes()
    override val playedBy = "the app's classes on a JVM"
    override val packageName = "org.msdedge.demo"
    override val versionName = "0.1.0"
    override val versionCode = 1L
    private val system = ManagementFactory.getOperatingSystemMXBean() as? com.sun.management.OperatingSystemMXBean

    override fun step(json: String) {
        out.println("INSTRUMENTATION_STATUS: step=$json")
        out.println("INSTRUMENTATION_STATUS_CODE: 1")
        out.flush()
    }

    override fun processorMs(): Long? = system?.processCpuTime?.takeIf { it >= 0 }?.div(1_000_000)

    override fun thermal(): Int? = null
}
