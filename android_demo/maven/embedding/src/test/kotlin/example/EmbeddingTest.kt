package example

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class EmbeddingTest {
    @Test
    fun `the lines in the README are the ones compiled here, and they classify`() {
        val root = File("../..")
        val source = File("src/main/kotlin/example/Embedding.kt").readText()
        val block = File(root, "README.md").readText().substringAfter("```kotlin\n").substringBefore("```")
        assertEquals(source.substring(source.indexOf("class Classifier")), block)
        val bundle = File(System.getProperty("msdedge.fixtures"), "bundles/digits")
        Classifier(bundle).use {
            val said = it.classify(20, 30, IntArray(600) { place -> place * 4321 or (255 shl 24) })
            assertTrue(Regex("\\S+ \\([0-9.E-]+\\) from exit [123] in [0-9.E-]+ ms").matches(said), said)
        }
    }
}
