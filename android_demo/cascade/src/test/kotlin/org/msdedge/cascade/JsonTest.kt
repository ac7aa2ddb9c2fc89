package org.msdedge.cascade

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class JsonTest {
    @Test
    fun `values keep their kind and order`() {
        val text = """ {"b":[1,-2,2.5e1,1.0,true,false,null],"a":{"x":"é\n\u00e9\"\\\/😀"},"":""} """
        val value = Json.parse(text) as Map<*, *>
        assertEquals(listOf("b", "a", ""), value.keys.toList())
        assertEquals(listOf<Any?>(1L, -2L, 25.0, 1.0, true, false, null), value["b"])
        assertEquals("é\né\"\\/😀", (value["a"] as Map<*, *>)["x"])
    }

    @Test
    fun `what is written is read back`() {
        val value = mapOf(
            "text" to "a\"\\\u0001\n\u2028é😀",
            "numbers" to listOf(0L, Long.MIN_VALUE, 1e-300, 0.1, -0.0),
            "nested" to listOf(emptyList<Any>(), emptyMap<String, Any>(), null, true),
        )
        assertEquals<Any?>(value, Json.parse(Json.write(value)))
        assertEquals("[1.5,2.0]", Json.write(floatArrayOf(1.5f, 2f)))
        assertEquals("[0.1,1]", Json.write(listOf(0.1f, 1)))
        assertEquals("[1,2]", Json.write(intArrayOf(1, 2)))
        assertEquals("[0.25]", Json.write(doubleArrayOf(0.25)))
    }

    @Test
    fun `what is not strict JSON is refused`() {
        val bad = listOf(
            "", " ", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "NaN", "Infinity", "-Infinity", "1e999", "01", "+1", ".5", "1.",
            "1e", "tru", "nul", "'a'", "\"a", "\"\n\"", "\"\\x\"", "\"\\u12\"", "1 2", "[1 2]", "{\"a\" 1}", "{1:2}", "99999999999999999999",
            "[".repeat(100_000), "{\"a\":".repeat(100_000),
        )
        for (text in bad) assertFailsWith<JsonError>(text.take(30)) { Json.parse(text) }
        assertFailsWith<JsonError> { Json.parse(byteArrayOf(34, -61, 34)) }
        for (value in listOf(Double.NaN, Double.POSITIVE_INFINITY, Float.NaN, Any(), mapOf(1 to 2))) {
            assertFailsWith<JsonError> { Json.write(value) }
        }
    }

    @Test
    fun `a refusal says where`() {
        val problem = assertFailsWith<JsonError> { Json.parse("{\"a\":1,\"a\":2}") }
        assertTrue("\"a\" stands there twice" in problem.message!!, problem.message)
    }
}
