package org.msdedge.cascade

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertTrue

class ManifestTest {
    @Test
    fun `every changed manifest is taken or refused as Python does`() {
        val cases = Fixtures.cases("manifests.json").map { it as Map<*, *> }
        assertTrue(cases.size > 100, "${cases.size} cases")
        val differing = cases.mapNotNull { case ->
            val outcome = try {
                Manifest.parse((case["text"] as String).toByteArray(), "b/manifest.json")
                null
            } catch (problem: BundleError) {
                checkSentence(problem)
                problem.message
            }
            if ((outcome == null) == case["accepted"]) null else "${case["name"]}: here $outcome, Python ${case["message"]}"
        }
        assertEquals(emptyList(), differing)
    }

    @Test
    fun `what Python exported is read`() {
        val bundle = Bundle.open(FolderFiles(File(Fixtures.folder, "bundles/digits")))
        assertEquals(listOf("tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"), bundle.manifest.variants.map { it.name })
        assertEquals(10, bundle.manifest.classes.size)
        assertEquals("tflite-int8", bundle.variant().name)
        assertEquals(DType.UINT8, bundle.variant("onnx-int8").segments[1].inputs[0].dtype)
        assertNotNull(bundle.variant("onnx-int8").calibration)
        assertTrue(assertFailsWith<BundleError> { bundle.variant("onnx") }.message!!.contains("onnx-float32"))
    }

    @Test
    fun `several tensors are handed on`() {
        val bundle = Bundle.open(FolderFiles(File(Fixtures.folder, "bundles/scales")))
        assertTrue(bundle.manifest.variants.all { it.segments[0].features.size > 1 && it.segments[1].inputs.size > 1 })
    }

    @Test
    fun `a seam that does not fit is told by its place and both values`() {
        val cases = Fixtures.cases("manifests.json").map { it as Map<*, *> }
        fun message(name: String) = assertFailsWith<BundleError> {
            Manifest.parse((cases.first { it["name"] == name }["text"] as String).toByteArray(), "digits/manifest.json")
        }.message!!
        assertTrue(Regex("digits/manifest.json: tflite-int8: seam 1→2: scale [0-9.]+ given, 0.5 taken\\.").matches(message("seam scale")))
        assertTrue("seam 1→2: shape" in message("seam shape"))
        assertTrue("seam 1→2: zero point" in message("seam zero point"))
        assertTrue("seam 1→2: layout" in message("seam layout"))
        assertTrue("seam 1→2: dtype" in message("seam dtype"))
        assertTrue("newer app" in message("schema_version 2"))
        assertTrue("no relative path" in message("path '../x'"))
    }

    private fun checkSentence(problem: CascadeError) {
        val text = problem.message!!
        assertTrue(text.endsWith(".") && '\n' !in text && "Exception" !in text, text)
    }
}
