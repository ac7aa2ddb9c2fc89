package org.msdedge.cascade

import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.BeforeTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class BundleTest {
    private lateinit var folder: File

    @BeforeTest
    fun copy() {
        folder = Files.createTempDirectory("bundle").toFile()
        File(Fixtures.folder, "bundles/colour").copyRecursively(folder, overwrite = true)
    }

    @AfterTest
    fun remove() {
        folder.deleteRecursively()
    }

    private fun open() = Bundle.open(FolderFiles(folder))

    private fun refused(): String {
        val bundle = open()
        return assertFailsWith<BundleError> { bundle.read(bundle.variant("onnx-int8").segments[0].file) }.message!!
    }

    private val file get() = File(folder, "onnx-int8/segment-1.onnx")

    @Test
    fun `files are handed out when they are those of the manifest`() {
        val bundle = open()
        for (variant in bundle.manifest.variants) {
            for (segment in variant.segments) assertEquals(segment.file.bytes, bundle.read(segment.file).size.toLong())
        }
        assertEquals(sha256(File(folder, "manifest.json").readBytes()), bundle.manifestSha256)
    }

    @Test
    fun `a missing, changed, cut or longer file is refused in a sentence`() {
        val right = file.readBytes()
        file.delete()
        assertTrue("it is not there" in refused())
        file.writeBytes(right.copyOf().also { it[10] = (it[10] + 1).toByte() })
        assertTrue("SHA-256 differs" in refused())
        file.writeBytes(right.copyOf(right.size - 1))
        assertTrue("fewer than the" in refused())
        file.writeBytes(right.copyOf(right.size + 1))
        assertTrue("more than the" in refused())
        file.delete()
        file.mkdir()
        assertTrue("it is none" in refused())
    }

    @Test
    fun `a link out of the bundle is refused`() {
        val outside = File.createTempFile("outside", "")
        outside.writeBytes(file.readBytes())
        file.delete()
        Files.createSymbolicLink(file.toPath(), outside.toPath())
        assertTrue("leads out of the bundle" in refused())
        outside.delete()
    }

    @Test
    fun `a folder without a manifest is no bundle`() {
        File(folder, "manifest.json").delete()
        assertTrue("has no manifest.json" in assertFailsWith<BundleError> { open() }.message!!)
    }
}
