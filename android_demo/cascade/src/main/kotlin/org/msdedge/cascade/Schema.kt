package org.msdedge.cascade

/**
 * Checks values against a JSON Schema: the part of draft 2020-12 that msd-edge's published schemas use.
 *
 * An integer must be written as one; `5.0` is none, as on the Python side.
 */
internal class Schema(private val root: Map<String, Any?>) {
    /** Returns the first mistake as `place: what`, or null. */
    fun firstMistake(value: Any?): String? = check(root, value, "")

    private fun check(schema: Map<String, Any?>, value: Any?, place: String): String? {
        for ((keyword, wanted) in schema) {
            val mistake = when (keyword) {
                "\$ref" -> check(definition(wanted as String), value, place)
                "anyOf" -> anyOf(list(wanted), value, place)
                "type" -> if (isOf(wanted as String, value)) null else say(place, "${show(value)} is no $wanted")
                "const" -> if (value == wanted) null else say(place, "${show(value)} is not ${show(wanted)}")
                "enum" -> oneOf(list(wanted), value, place)
                "pattern" -> pattern(wanted as String, value, place)
                "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum" -> bound(keyword, wanted as Number, value, place)
                "required" -> required(list(wanted), value, place)
                "properties" -> members(schema, value, place)
                "additionalProperties" -> others(schema, wanted, value, place)
                "items" -> items(schema, wanted, value, place)
                "prefixItems" -> prefix(list(wanted), value, place)
                "minItems" -> length(value, place) { size -> if (size < number(wanted)) "at least $wanted items are needed" else null }
                "maxItems" -> length(value, place) { size -> if (size > number(wanted)) "at most $wanted items are allowed" else null }
                "title", "description", "default", "\$schema", "\$defs", "\$id" -> null
                else -> throw BundleError("the schema in this app uses \"$keyword\", which this app does not know; update the app.")
            }
            if (mistake != null) return mistake
        }
        return null
    }

    private fun definition(reference: String): Map<String, Any?> =
        map(map(root["\$defs"])[reference.removePrefix("#/\$defs/")])

    private fun anyOf(choices: List<Any?>, value: Any?, place: String): String? {
        val mistakes = choices.map { check(map(it), value, place) ?: return null }
        // What was meant is told by the choice that is not null, unless several are.
        return mistakes.firstOrNull { !it.endsWith("is no null") } ?: mistakes.first()
    }

    private fun isOf(type: String, value: Any?): Boolean = when (type) {
        "object" -> value is Map<*, *>
        "array" -> value is List<*>
        "string" -> value is String
        "integer" -> value is Long
        "number" -> value is Long || value is Double
        "boolean" -> value is Boolean
        "null" -> value == null
        else -> false
    }

    private fun oneOf(choices: List<Any?>, value: Any?, place: String): String? =
        if (value in choices) null else say(place, "${show(value)} is none of ${choices.joinToString { show(it) }}")

    private fun pattern(wanted: String, value: Any?, place: String): String? =
        if (value !is String || Regex(wanted).find(value) != null && !value.endsWith("\n")) null
        else say(place, "${show(value)} does not look like $wanted")

    private fun bound(keyword: String, limit: Number, value: Any?, place: String): String? {
        if (value !is Number) return null
        val found = value.toDouble()
        val wanted = limit.toDouble()
        val (fits, words) = when (keyword) {
            "minimum" -> (found >= wanted) to "less than"
            "maximum" -> (found <= wanted) to "more than"
            "exclusiveMinimum" -> (found > wanted) to "not more than"
            else -> (found < wanted) to "not less than"
        }
        return if (fits) null else say(place, "$value is $words $limit")
    }

    private fun required(keys: List<Any?>, value: Any?, place: String): String? {
        if (value !is Map<*, *>) return null
        return keys.firstOrNull { it !in value }?.let { say(place, "\"$it\" is missing") }
    }

    private fun members(schema: Map<String, Any?>, value: Any?, place: String): String? {
        if (value !is Map<*, *>) return null
        for ((key, part) in map(schema["properties"])) {
            if (key in value) check(map(part), value[key], inside(place, key))?.let { return it }
        }
        return null
    }

    private fun others(schema: Map<String, Any?>, wanted: Any?, value: Any?, place: String): String? {
        if (value !is Map<*, *>) return null
        val known = map(schema["properties"] ?: emptyMap<String, Any?>()).keys
        for ((key, item) in value) {
            if (key in known) continue
            if (wanted == false) return say(place, "\"$key\" is not known here")
            if (wanted is Map<*, *>) check(map(wanted), item, inside(place, key as String))?.let { return it }
        }
        return null
    }

    private fun items(schema: Map<String, Any?>, wanted: Any?, value: Any?, place: String): String? {
        if (value !is List<*>) return null
        val start = (schema["prefixItems"] as? List<*>)?.size ?: 0
        for (index in start until value.size) check(map(wanted), value[index], "$place[$index]")?.let { return it }
        return null
    }

    private fun prefix(parts: List<Any?>, value: Any?, place: String): String? {
        if (value !is List<*>) return null
        for ((index, part) in parts.withIndex()) {
            if (index < value.size) check(map(part), value[index], "$place[$index]")?.let { return it }
        }
        return null
    }

    private inline fun length(value: Any?, place: String, mistake: (Long) -> String?): String? =
        if (value is List<*>) mistake(value.size.toLong())?.let { say(place, it) } else null

    private fun number(value: Any?): Long = (value as Number).toLong()

    private fun inside(place: String, key: String) = if (place.isEmpty()) key else "$place.$key"

    private fun say(place: String, what: String) = if (place.isEmpty()) what else "$place: $what"

    private fun show(value: Any?): String = when (value) {
        is String -> "\"${if (value.length > 40) value.take(40) + "…" else value}\""
        is Map<*, *> -> "an object"
        is List<*> -> "an array"
        else -> value.toString()
    }

    @Suppress("UNCHECKED_CAST")
    private fun map(value: Any?) = value as Map<String, Any?>

    private fun list(value: Any?) = value as List<Any?>
}
