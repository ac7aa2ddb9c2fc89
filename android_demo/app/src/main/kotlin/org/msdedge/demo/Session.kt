package org.msdedge.demo

import android.content.Context
import android.graphics.Bitmap
import android.os.Handler
import android.os.Looper
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicBoolean
import org.msdedge.cascade.Answer
import org.msdedge.cascade.Bundle
import org.msdedge.cascade.BundleFiles
import org.msdedge.cascade.CascadeError
import org.msdedge.cascade.ExitShares
import org.msdedge.cascade.OperatingPoint
import org.msdedge.cascade.RawImage
import org.msdedge.cascade.Resize
import org.msdedge.cascade.Runtimes

/** Where the picture on the screen comes from. */
enum class Source { SAMPLE, GALLERY, CAMERA }

/** All that the screen shows; made anew at every change. */
data class Screen(
    val bundles: List<String> = emptyList(),
    val choice: Choice = Choice(),
    val loading: Boolean = false,
    val message: String? = null,
    val title: String = "",
    val variants: List<String> = emptyList(),
    val classes: List<String> = emptyList(),
    val points: List<OperatingPoint> = emptyList(),
    val point: Int = 0,
    val hasGpu: Boolean = false,
    val fullMs: List<Double> = emptyList(),
    val source: Source = Source.SAMPLE,
    val picture: Bitmap? = null,
    val answer: Answer? = null,
    val shares: List<Int> = emptyList(),
)

/**
 * The app's state and its one worker thread; outlives the activity when the screen turns. Public functions are called on
 * the main thread.
 */
class Session(context: Context, private val runtimes: Runtimes, choice: Choice = Choice()) {
    private val context = context.applicationContext
    private val main = Handler(Looper.getMainLooper())
    private val busy = AtomicBoolean()
    internal val worker: ExecutorService = Executors.newSingleThreadExecutor { Thread(it, "cascade") }

    /** What is on the screen now. */
    var screen = Screen(choice = choice)
        private set(value) {
            field = value
            listener?.invoke(value)
        }

    /** Told of every change; the current state at once. */
    var listener: ((Screen) -> Unit)? = null
        set(value) {
            field = value
            value?.invoke(screen)
        }

    // Of the worker thread alone.
    private var model: Model? = null
    private var shares = ExitShares(1)
    private var image: RawImage? = null
    private var source = Source.SAMPLE
    private var sample = 0

    /** Looks for bundles, and loads one unless it is loaded already. */
    fun refresh() {
        val found = Bundles.list(context)
        val names = found.map { it.name }
        if (names == screen.bundles && model != null) return
        screen = screen.copy(bundles = names)
        choose(screen.choice)
    }

    /** Loads what is chosen, unless only the operating point is another. */
    fun choose(choice: Choice) {
        val before = screen.choice
        screen = screen.copy(choice = choice)
        if (model != null && choice.copy(point = null) == before.copy(point = null)) selectPoint(choice.point) else load(choice)
    }

    /** Shows the bundle's next sample. */
    fun nextSample() = work {
        val samples = model?.samples ?: return@work
        sample = (sample + 1) % samples.size
        show(samples[sample], Source.SAMPLE)
    }

    /** Classifies a picture that the user brought. */
    fun show(picture: RawImage) = work { show(picture, Source.GALLERY) }

    /** Classifies a frame of the camera, unless the one before is still being worked on. */
    fun offerFrame(frame: () -> RawImage) {
        if (!busy.compareAndSet(false, true)) return
        work {
            try {
                show(frame(), Source.CAMERA)
            } finally {
                busy.set(false)
            }
        }
    }

    /** Counts exits anew. */
    fun clearShares() = work {
        shares.clear()
        val counts = shares.counts().toList()
        post { it.copy(shares = counts) }
    }

    /** Says something in place of a result. */
    fun tell(message: String) {
        screen = screen.copy(message = message)
    }

    /** Ends the worker and lets the files go. */
    fun close() {
        listener = null
        worker.execute { model?.close() }
        worker.shutdown()
    }

    private fun load(choice: Choice) {
        screen = screen.copy(loading = true, message = null)
        work {
            model?.close()
            model = null
            val files = Bundles.list(context)
            val chosen = files.firstOrNull { it.name == choice.bundle } ?: files.firstOrNull()
            if (chosen == null) post { cleared(it, context.getString(R.string.no_bundle)) } else open(chosen, choice)
        }
    }

    private fun open(files: BundleFiles, choice: Choice) {
        val opened = try {
            Model.open(files, choice, runtimes)
        } catch (problem: CascadeError) {
            // The lists stay as far as they are known, so that something else can be chosen.
            val bundle = runCatching { Bundle.open(files) }.getOrNull()
            val variants = bundle?.manifest?.variants.orEmpty().map { it.name }
            val tried = choice.variant.takeIf { it in variants } ?: bundle?.variant()?.name
            post { cleared(it, problem.message!!).copy(variants = variants, choice = choice.copy(bundle = files.name, variant = tried)) }
            return
        }
        val place = opened.place(choice.point)
        opened.select(place)
        model = opened
        shares = ExitShares(opened.variant.segments.size)
        val manifest = opened.bundle.manifest
        val hasGpu = Model.hasGpu(runtimes, opened.variant.target)
        post {
            it.copy(
                choice = choice.copy(bundle = files.name, variant = opened.variant.name),
                loading = false,
                message = null,
                title = manifest.name,
                variants = manifest.variants.map { variant -> variant.name },
                classes = manifest.classes,
                points = opened.points,
                point = place,
                hasGpu = hasGpu,
                fullMs = opened.fullMs.toList(),
                answer = null,
                shares = shares.counts().toList(),
            )
        }
        sample = sample.coerceAtMost(opened.samples.size - 1)
        val kept = image
        if (source == Source.SAMPLE || kept == null) show(opened.samples[sample], Source.SAMPLE) else show(kept, source)
    }

    private fun selectPoint(name: String?) = work {
        val loaded = model ?: return@work
        val place = loaded.place(name)
        loaded.select(place)
        post { it.copy(point = place) }
        val last = image
        if (last != null && source != Source.CAMERA) show(last, source)
    }

    private fun show(picture: RawImage, from: Source) {
        val loaded = model ?: return
        image = picture
        source = from
        val input = Resize.fit(picture, loaded.bundle.manifest.input)
        val answer = loaded.cascade.predict(input)
        shares.add(answer.exit)
        val counts = shares.counts().toList()
        val seen = Pictures.toBitmap(picture)
        post { it.copy(source = from, picture = seen, answer = answer, shares = counts, message = null) }
    }

    private fun cleared(screen: Screen, message: String) = screen.copy(
        loading = false,
        message = message,
        title = "",
        variants = emptyList(),
        points = emptyList(),
        picture = null,
        answer = null,
        shares = emptyList(),
    )

    /** Runs on the worker thread; what goes wrong becomes a sentence on the screen. */
    private fun work(job: () -> Unit) {
        if (worker.isShutdown) return
        worker.execute {
            try {
                job()
            } catch (problem: CascadeError) {
                post { it.copy(loading = false, message = problem.message) }
            } catch (problem: OutOfMemoryError) {
                post { it.copy(loading = false, message = context.getString(R.string.no_memory)) }
            } catch (problem: RuntimeException) {
                val reason = "${problem.javaClass.simpleName}: ${problem.message}"
                post { it.copy(loading = false, message = context.getString(R.string.failed, reason)) }
            }
        }
    }

    private fun post(change: (Screen) -> Screen) {
        main.post { screen = change(screen) }
    }
}
