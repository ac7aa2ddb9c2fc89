package org.msdedge.cascade.bench

import org.msdedge.cascade.ConfigError
import org.msdedge.cascade.Json
import org.msdedge.cascade.JsonError

/** A file of raw test images, [path] relative to the app's files. */
class ImageFile(val path: String, val sha256: String, val count: Int)

/** Frames at a fixed rate. */
class Paced(val fps: Double, val seconds: Double, val contenders: List<String>)

/** One contender for a long time. */
class Sustain(val minutes: Double, val contender: String)

/** `config.json` of docs/device-protocol.md; paths are relative to the app's files. */
class BenchConfig(
    val nonce: String,
    val bundle: String,
    val manifestSha256: String,
    val variant: String,
    val runtime: String?,
    val gpu: Boolean,
    val threads: Int,
    val images: List<ImageFile>,
    val points: List<String>,
    val goldenSteps: Double,
    val goldenRangeShare: Double,
    val warmup: Int,
    val block: Int,
    val seconds: Double,
    val paced: Paced?,
    val sustain: Sustain?,
    val result: String,
) {
    companion object {
        const val PROTOCOL = 1

        /** @throws ConfigError the bytes are no configuration of this protocol; an unknown key is one mistake. */
        fun parse(bytes: ByteArray): BenchConfig {
            val value = try {
                Json.parse(bytes)
            } catch (problem: JsonError) {
                throw ConfigError("the configuration of the measurement is no valid JSON: ${problem.message}.")
            }
            return Fields(value, "").run {
                val protocol = whole("protocol", 1)
                if (protocol != PROTOCOL) {
                    throw ConfigError("this app speaks protocol $PROTOCOL, the configuration is of $protocol; install the app of this msd-edge.")
                }
                val delegate = text("delegate")
                if (delegate != "cpu" && delegate != "gpu") wrong("delegate", "$delegate is neither cpu nor gpu")
                val golden = inner("golden")
                BenchConfig(
                    nonce = text("nonce"),
                    bundle = text("bundle"),
                    manifestSha256 = text("manifest_sha256"),
                    variant = text("variant"),
                    runtime = optionalText("runtime"),
                    gpu = delegate == "gpu",
                    threads = whole("threads", 1),
                    images = list("images").map { item ->
                        Fields(item, "images").run { ImageFile(text("path"), text("sha256"), whole("count", 1)).also { done() } }
                    },
                    points = texts("points"),
                    goldenSteps = golden.number("steps"),
                    goldenRangeShare = golden.number("range_share").also { golden.done() },
                    warmup = whole("warmup", 0),
                    block = whole("block", 1),
                    seconds = number("seconds"),
                    paced = optional("paced")?.run {
                        Paced(number("fps"), number("seconds"), texts("contenders")).also {
                            if (it.fps <= 0) wrong("fps", "it must be more than 0")
                            done()
                        }
                    },
                    sustain = optional("sustain")?.run { Sustain(number("minutes"), text("contender")).also { done() } },
                    result = text("result"),
                ).also {
                    if (it.images.isEmpty()) wrong("images", "there are none")
                    done()
                }
            }
        }
    }
}

/** A JSON object whose every key has to be asked for. */
private class Fields(value: Any?, private val place: String) {
    private val fields = value as? Map<*, *> ?: throw ConfigError("the configuration of the measurement: $place is no object.")
    private val asked = HashSet<String>()

    fun text(key: String): String = get(key) as? String ?: wrong(key, "a text is expected")

    fun optionalText(key: String): String? = get(key)?.let { it as? String ?: wrong(key, "a text or null is expected") }

    fun number(key: String): Double {
        val value = (get(key) as? Number)?.toDouble() ?: wrong(key, "a number is expected")
        if (value < 0) wrong(key, "$value is negative")
        return value
    }

    fun whole(key: String, least: Int): Int {
        val value = get(key) as? Long ?: wrong(key, "an integer is expected")
        if (value < least || value > Int.MAX_VALUE) wrong(key, "$value is not in $least..${Int.MAX_VALUE}")
        return value.toInt()
    }

    fun list(key: String): List<*> = get(key) as? List<*> ?: wrong(key, "an array is expected")

    fun texts(key: String): List<String> = list(key).map { it as? String ?: wrong(key, "texts are expected") }

    fun inner(key: String) = Fields(get(key), key)

    fun optional(key: String): Fields? = get(key)?.let { Fields(it, key) }

    fun done() {
        val unknown = fields.keys.filter { it !in asked }
        if (unknown.isNotEmpty()) wrong(unknown.first().toString(), "this app knows no such setting")
    }

    fun wrong(key: String, what: String): Nothing {
        val path = if (place.isEmpty()) key else "$place.$key"
        throw ConfigError("the configuration of the measurement: $path: $what.")
    }

    private fun get(key: String): Any? {
        asked.add(key)
        if (key !in fields) wrong(key, "it is missing")
        return fields[key]
    }
}
