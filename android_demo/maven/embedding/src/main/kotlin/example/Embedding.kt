package example

import java.io.File
import org.msdedge.cascade.Bundle
import org.msdedge.cascade.Cascade
import org.msdedge.cascade.FolderFiles
import org.msdedge.cascade.RawImage
import org.msdedge.cascade.Resize
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.Runtimes
import org.msdedge.runners.TfliteRuntime

class Classifier(folder: File) : AutoCloseable {
    private val bundle = Bundle.open(FolderFiles(folder))
    private val cascade = Cascade.open(bundle, Runtimes(TfliteRuntime()), point = "balanced", options = RunOptions(threads = 2))

    fun classify(width: Int, height: Int, argb: IntArray): String {
        val image = Resize.fit(RawImage.fromArgb(width, height, argb), bundle.manifest.input)
        val answer = cascade.predict(image)
        return "${answer.label} (${answer.probability}) from exit ${answer.exit} in ${answer.totalMs} ms"
    }

    override fun close() = cascade.close()
}
