package org.msdedge.demo

import android.content.Context
import android.content.res.AssetManager
import java.io.File
import java.io.InputStream
import org.msdedge.cascade.Bundle
import org.msdedge.cascade.BundleFiles
import org.msdedge.cascade.FolderFiles

/** A bundle that came with the app, in `assets/bundles/NAME`. */
class AssetFiles(private val assets: AssetManager, override val name: String) : BundleFiles {
    override fun open(path: String): InputStream = assets.open("$BUNDLES/$name/$path", AssetManager.ACCESS_STREAMING)
}

/** The bundles side by side: those in the assets, and those brought by `msd-edge deploy` into the app's files. */
object Bundles {
    /** Returns them by name; of the same name the deployed one hides the one in the assets. */
    fun list(context: Context): List<BundleFiles> {
        val found = sortedMapOf<String, BundleFiles>()
        // Robolectric lists what lies deeper, too.
        for (name in context.assets.list(BUNDLES).orEmpty().map { it.substringBefore('/') }.distinct()) {
            if (isName(name)) found[name] = AssetFiles(context.assets, name)
        }
        for (folder in File(context.filesDir, BUNDLES).listFiles().orEmpty()) {
            if (isName(folder.name) && File(folder, Bundle.MANIFEST).isFile) found[folder.name] = FolderFiles(folder)
        }
        return found.values.toList()
    }

    // A folder whose name begins with a dot is a bundle on its way.
    private fun isName(name: String) = !name.startsWith(".")
}

private const val BUNDLES = "bundles"
