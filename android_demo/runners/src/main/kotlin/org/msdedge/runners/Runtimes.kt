package org.msdedge.runners

import org.msdedge.cascade.Runtime
import org.msdedge.cascade.RuntimeUnavailable
import org.msdedge.cascade.Runtimes

/** The runtimes whose classes are part of this app. */
fun presentRuntimes(): Runtimes {
    val found = ArrayList<Runtime>()
    if (isPresent("org.tensorflow.lite.Interpreter")) found.add(TfliteRuntime())
    if (isPresent("ai.onnxruntime.OrtEnvironment")) found.add(OnnxRuntime())
    return Runtimes(found)
}

internal fun isPresent(name: String): Boolean = try {
    Class.forName(name, false, TfliteRuntime::class.java.classLoader)
    true
} catch (_: ClassNotFoundException) {
    false
} catch (_: LinkageError) {
    false
}

/** Runs what loads a native library; a library that is missing or of another processor is told in a sentence. */
internal fun <T> starting(load: () -> T): T = try {
    load()
} catch (problem: LinkageError) {
    throw RuntimeUnavailable("the runtime does not start on this device: ${oneLine(problem)}.")
} catch (problem: RuntimeException) {
    throw RuntimeUnavailable("the runtime does not start on this device: ${oneLine(problem)}.")
}

internal fun oneLine(problem: Throwable): String =
    (problem.message ?: problem.javaClass.simpleName).trim().split(Regex("\\s+")).joinToString(" ").trimEnd('.')
