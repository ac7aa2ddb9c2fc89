package org.msdedge.cascade

private const val SCHEMA = "/manifest-1.json"

private val schema: Schema by lazy {
    val stream = Manifest::class.java.getResourceAsStream(SCHEMA)
        ?: throw BundleError("this app lacks the schema of bundles ($SCHEMA); build it again.")
    Schema(fields(Json.parse(stream.use { it.readBytes() })))
}

internal fun readManifest(bytes: ByteArray, where: String): Manifest {
    val value = try {
        Json.parse(bytes)
    } catch (problem: JsonError) {
        throw BundleError("$where: this manifest is no valid JSON: ${problem.message}.")
    }
    if (value !is Map<*, *>) throw BundleError("$where: a manifest is a JSON object.")
    val version = value["schema_version"]
    if (version !is Long || version < 1) {
        throw BundleError("$where: schema_version is ${"$version".take(40)}, not a number from 1 on; this is no manifest.")
    }
    if (version > Manifest.SCHEMA_VERSION) {
        throw BundleError(
            "$where: needs a newer app: it is of schema $version, this app reads ${Manifest.SCHEMA_VERSION}; update the app.",
        )
    }
    schema.firstMistake(value)?.let { throw BundleError("$where: $it.") }
    return try {
        manifest(fields(value)).also(::checkParts)
    } catch (problem: Contradiction) {
        throw BundleError("$where: ${problem.message}.")
    }
}

/** What the schema cannot say is wrong. */
internal class Contradiction(message: String) : Exception(message)

private typealias Fields = Map<String, Any?>

// The schema has been checked before: casts below cannot fail.

@Suppress("UNCHECKED_CAST")
private fun fields(value: Any?) = value as Fields

private fun Fields.text(key: String) = get(key) as String

private fun Fields.number(key: String) = (get(key) as Number).toDouble()

private fun Fields.integer(key: String): Int {
    val value = get(key) as Long
    if (value != value.toInt().toLong()) throw Contradiction("$key: $value is too large")
    return value.toInt()
}

private fun Fields.items(key: String) = (get(key) as List<*>?).orEmpty()

private fun <T> Fields.each(key: String, read: (Fields) -> T): List<T> = items(key).map { read(fields(it)) }

private fun Fields.numbers(key: String) = items(key).map { (it as Number).toDouble() }

private fun Fields.path(key: String): String {
    val path = text(key)
    val parts = path.split('/').filter { it.isNotEmpty() && it != "." }
    val climbs = path.startsWith("/") || ".." in parts || path.any { it == '\\' || it == ':' || it == '\u0000' }
    if (parts.isEmpty() || climbs) throw Contradiction("\"$path\" is no relative path inside the bundle")
    return path
}

private fun manifest(it: Fields) = Manifest(
    name = it.text("name"),
    classes = it.items("classes").map { name -> name as String },
    input = fields(it["input"]).let { input ->
        InputSpec(input.integer("height"), input.integer("width"), input.integer("channels"))
    },
    exits = it.each("exits") { exit ->
        ExitInfo(exit.integer("index"), exit.text("place"), exit["macs"] as Long, exit["chain_macs"] as Long)
    },
    variants = it.each("variants", ::variant),
    golden = golden(fields(it["golden"])),
)

private fun variant(it: Fields) = Variant(
    target = Target.values().first { target -> target.text == it.text("target") },
    precision = it.text("precision"),
    segments = it.each("segments", ::segment),
    exits = it.each("exits") { exit ->
        StandAloneExit(exit.integer("index"), file(exit), tensor(fields(exit["image"])), tensor(fields(exit["logits"])))
    },
    multiSignature = it["multi_signature"]?.let { multi ->
        MultiSignature(file(fields(multi)), fields(multi).items("signatures").map { name -> name as String })
    },
    calibration = it["calibration"]?.let { calibration -> calibration(fields(calibration)) },
).also(::checkVariant)

private fun file(it: Fields) = FileEntry(it.path("path"), it.text("sha256"), it["bytes"] as Long)

private fun segment(it: Fields) = Segment(
    index = it.integer("index"),
    file = file(it),
    inputs = it.each("inputs", ::tensor),
    logits = tensor(fields(it["logits"])),
    features = it.each("features", ::tensor),
    logitRange = fields(it["parity"]).number("logit_range"),
)

private fun tensor(it: Fields) = TensorSpec(
    name = it.text("name"),
    shape = it.items("shape").map { length -> (length as Long).toInt() },
    layout = Layout.valueOf(it.text("layout")),
    dtype = dtype(it.text("dtype")),
    scale = (it["scale"] as Number?)?.toDouble(),
    zeroPoint = it["zero_point"]?.let { _ -> it.integer("zero_point") },
).also(::checkTensor)

private fun dtype(text: String) = DType.values().first { it.text == text }

private fun calibration(it: Fields) = Calibration(
    rule = RuleName.values().first { rule -> rule.text == it.text("rule") },
    temperatures = it.each("exits") { exit -> exit.number("temperature") },
    weights = it.each("exits") { exit -> exit["weights"]?.let { exit.numbers("weights") } }.filterNotNull(),
    points = it.each("points", ::point),
    front = it.each("front", ::point),
    budgeted = it.each("budgeted", ::point),
    segmentMs = fields(it["latency"]).numbers("segment_ms"),
)

private fun point(it: Fields) = OperatingPoint(
    name = it.text("name"),
    thresholds = it.numbers("thresholds"),
    accuracy = it.number("accuracy"),
    expectedMs = it.number("expected_ms"),
    exitShares = it.numbers("exit_shares"),
)

private fun golden(it: Fields) = GoldenEntry(
    images = it.integer("images"),
    path = it.path("path"),
    sha256 = it.text("sha256"),
    labels = it.items("labels").map { label -> (label as Long).toInt() },
    outputs = it.each("outputs") { output ->
        GoldenOutputs(output.text("variant"), output.path("path"), output.text("sha256"), dtype(output.text("dtype")))
    },
)
