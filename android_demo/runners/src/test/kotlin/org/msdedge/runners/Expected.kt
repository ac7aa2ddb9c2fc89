package org.msdedge.runners

import java.io.File
import org.msdedge.cascade.Bundle
import org.msdedge.cascade.FolderFiles
import org.msdedge.cascade.Json
import org.msdedge.cascade.RawImage

/** A bundle that the Python side exported in this build, with what it gives for many images there. */
internal class Expected(name: String) {
    val bundle = Bundle.open(FolderFiles(File(fixtures, "bundles/$name")))
    private val values = Json.parse(File(fixtures, "expected/$name.json").readBytes()) as Map<*, *>

    val images: List<RawImage> = run {
        val input = bundle.manifest.input
        val size = input.width * input.height * input.channels
        val bytes = File(fixtures, "expected/$name.u8").readBytes()
        List(bytes.size / size) { RawImage(input.width, input.height, input.channels, bytes.copyOfRange(it * size, (it + 1) * size)) }
    }

    private fun variant(name: String) = (values["variants"] as Map<*, *>)[name] as Map<*, *>

    /** The raw logits of one image and exit (both from 0). */
    fun raw(variant: String, image: Int, exit: Int): List<Double> =
        (((variant(variant)["raw"] as List<*>)[image] as List<*>)[exit] as List<*>).map { (it as Number).toDouble() }

    /** For one operating point the exits, classes or probabilities of all images. */
    fun point(variant: String, point: String, what: String): List<Number> =
        (((variant(variant)["points"] as Map<*, *>)[point] as Map<*, *>)[what] as List<*>).map { it as Number }

    companion object {
        val fixtures = File(checkNotNull(System.getProperty("msdedge.fixtures")))
        val names = listOf("colour", "digits", "digits-averaged", "digits-entropy", "digits-patience", "scales")
    }
}
