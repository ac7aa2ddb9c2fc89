package org.msdedge.cascade

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction

/** The text is no strict JSON, or a value has no form in it. */
class JsonError(message: String) : Exception(message)

/**
 * Strict JSON (RFC 8259). Objects are `Map<String, Any?>` in the order of the text, arrays `List<Any?>`, numbers `Long`
 * where they are written as integers, else `Double`.
 *
 * Refused: a key twice, NaN and infinity (written out or by overflow), integers beyond 64 bits, text after the value,
 * bytes that are no UTF-8.
 */
object Json {
    /** @throws JsonError the bytes are no strict JSON. */
    fun parse(bytes: ByteArray): Any? {
        val decoder = Charsets.UTF_8.newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT)
        return try {
            parse(decoder.decode(ByteBuffer.wrap(bytes)).toString())
        } catch (_: CharacterCodingException) {
            throw JsonError("the bytes are no UTF-8")
        }
    }

    /** @throws JsonError the text is no strict JSON. */
    fun parse(text: String): Any? = Parser(text).document()

    /**
     * Writes maps, lists, arrays of numbers, strings, numbers, booleans and null on one line.
     *
     * @throws JsonError a number is not finite, or there is no JSON for a value.
     */
    fun write(value: Any?): String = StringBuilder().also { append(it, value) }.toString()

    private fun append(out: StringBuilder, value: Any?) {
        when (value) {
            null, is Boolean, is Int, is Long -> out.append(value)
            is Float -> out.append(finite(value.toDouble(), value))
            is Double -> out.append(finite(value, value))
            is String -> quote(out, value)
            is Map<*, *> -> join(out, '{', '}', value.entries) { (key, item) ->
                quote(out, key as? String ?: throw JsonError("a key is no text: $key"))
                out.append(':')
                append(out, item)
            }
            is Iterable<*> -> join(out, '[', ']', value) { append(out, it) }
            is DoubleArray -> join(out, '[', ']', value.asList()) { append(out, it) }
            is FloatArray -> join(out, '[', ']', value.asList()) { append(out, it) }
            is IntArray -> join(out, '[', ']', value.asList()) { append(out, it) }
            else -> throw JsonError("there is no JSON for ${value.javaClass.name}")
        }
    }

    private fun finite(checked: Double, value: Number): Number {
        if (checked.isNaN() || checked.isInfinite()) throw JsonError("$value is no JSON number")
        return value
    }

    private inline fun <T> join(out: StringBuilder, open: Char, close: Char, items: Iterable<T>, each: (T) -> Unit) {
        out.append(open)
        var first = true
        for (item in items) {
            if (!first) out.append(',')
            first = false
            each(item)
        }
        out.append(close)
    }

    private fun quote(out: StringBuilder, text: String) {
        out.append('"')
        for (c in text) {
            when {
                c == '"' || c == '\\' -> out.append('\\').append(c)
                c == '\n' -> out.append("\\n")
                c < ' ' -> out.append("\\u").append(c.code.toString(16).padStart(4, '0'))
                else -> out.append(c)
            }
        }
        out.append('"')
    }
}

private class Parser(private val text: String) {
    private var at = 0

    fun document(): Any? {
        val value = value(0)
        blanks()
        if (at < text.length) fail("text after the value")
        return value
    }

    private fun value(depth: Int): Any? {
        if (depth > DEPTH) fail("it nests too deeply")
        blanks()
        return when (peek()) {
            '{' -> members(depth)
            '[' -> items(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        at++
        blanks()
        if (take('}')) return found
        while (true) {
            blanks()
            if (peek() != '"') fail("a key is expected")
            val key = string()
            blanks()
            if (!take(':')) fail("':' is expected")
            val value = value(depth + 1)
            if (found.containsKey(key)) fail("the key \"$key\" stands there twice")
            found[key] = value
            blanks()
            if (take('}')) return found
            if (!take(',')) fail("',' or '}' is expected")
        }
    }

    private fun items(depth: Int): List<Any?> {
        val found = ArrayList<Any?>()
        at++
        blanks()
        if (take(']')) return found
        while (true) {
            found.add(value(depth + 1))
            blanks()
            if (take(']')) return found
            if (!take(',')) fail("',' or ']' is expected")
        }
    }

    private fun string(): String {
        val out = StringBuilder()
        at++
        while (true) {
            val c = peek()
            if (c < ' ') fail("a control character in a text")
            at++
            when (c) {
                '"' -> return out.toString()
                '\\' -> out.append(escaped())
                else -> out.append(c)
            }
        }
    }

    private fun escaped(): Char {
        val c = peek()
        at++
        return when (c) {
            '"', '\\', '/' -> c
            'b' -> '\b'
            'f' -> '\u000c'
            'n' -> '\n'
            'r' -> '\r'
            't' -> '\t'
            'u' -> {
                val digits = text.substring(at, minOf(at + 4, text.length))
                if (digits.length < 4 || !digits.all { it in '0'..'9' || it in 'a'..'f' || it in 'A'..'F' }) {
                    fail("\\u needs four hexadecimal digits")
                }
                at += 4
                digits.toInt(16).toChar()
            }
            else -> fail("there is no escape \\$c")
        }
    }

    private fun number(): Any {
        val start = at
        while (at < text.length && (text[at] in '0'..'9' || text[at] in "+-.eE")) at++
        val found = text.substring(start, at)
        if (!NUMBER.matches(found)) fail("a value is expected", start)
        if (found.all { it == '-' || it in '0'..'9' }) {
            return found.toLongOrNull() ?: fail("the integer $found has more than 64 bits", start)
        }
        val value = found.toDouble()
        if (value.isInfinite()) fail("the number $found is too large", start)
        return value
    }

    private fun word(word: String, value: Any?): Any? {
        if (!text.startsWith(word, at)) fail("a value is expected")
        at += word.length
        return value
    }

    private fun blanks() {
        while (at < text.length && text[at] in " \t\n\r") at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("it ends too early")

    private fun take(c: Char): Boolean = (at < text.length && text[at] == c).also { if (it) at++ }

    private fun fail(what: String, place: Int = at): Nothing = throw JsonError("$what, at character ${place + 1}")

    private companion object {
        const val DEPTH = 200
        val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
    }
}
