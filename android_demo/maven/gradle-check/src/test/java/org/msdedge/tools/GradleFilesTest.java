package org.msdedge.tools;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import groovy.lang.Binding;
import groovy.lang.GroovyClassLoader;
import groovy.lang.GroovyShell;
import groovy.lang.Script;
import java.io.File;
import java.io.IOException;
import java.util.List;
import java.util.stream.Collectors;
import org.codehaus.groovy.control.CompilerConfiguration;
import org.junit.Test;

/** The Gradle files run, as far as Groovy goes, and say what the poms say. */
public class GradleFilesTest {
    private static final File ROOT = new File(System.getProperty("root"));

    @SuppressWarnings("unchecked")
    private static List<String> run(String path) throws IOException {
        GroovyClassLoader loader = new GroovyClassLoader(GradleFilesTest.class.getClassLoader());
        loader.parseClass(new File(GradleFilesTest.class.getResource("/Recorder.groovy").getFile()));
        CompilerConfiguration configuration = new CompilerConfiguration();
        configuration.setScriptBaseClass("RecordedBuild");
        Script script = new GroovyShell(loader, new Binding(), configuration).parse(new File(ROOT, path));
        script.run();
        return (List<String>) script.getProperty("lines");
    }

    private static String of(String property) {
        return System.getProperty(property);
    }

    private static void says(List<String> lines, String line) {
        assertTrue(line + " is not among " + lines, lines.contains(line));
    }

    @Test
    public void settingsNameTheModules() throws IOException {
        List<String> lines = run("settings.gradle");
        says(lines, "include=:cascade,:runners,:app");
        for (String module : new String[] {"cascade", "runners", "app"}) {
            assertTrue(new File(ROOT, module + "/build.gradle").isFile());
        }
    }

    @Test
    public void pluginsAreOfThePomsVersions() throws IOException {
        String lines = run("build.gradle").toString();
        assertTrue(lines, lines.contains("plugins.id=org.jetbrains.kotlin.android"));
        assertTrue(lines, lines.contains("plugins.id=org.jetbrains.kotlin.jvm.version=" + of("kotlin")));
        assertTrue(lines, lines.contains("plugins.id=org.jetbrains.kotlin.android.version=" + of("kotlin")));
    }

    @Test
    public void theAppIsThePoms() throws IOException {
        List<String> lines = run("app/build.gradle");
        says(lines, "android.namespace=org.msdedge.demo");
        says(lines, "android.compileSdk=" + of("compileSdk"));
        says(lines, "android.defaultConfig.applicationId=org.msdedge.demo");
        says(lines, "android.defaultConfig.minSdk=" + of("minSdk"));
        says(lines, "android.defaultConfig.targetSdk=" + of("compileSdk"));
        says(lines, "android.defaultConfig.versionCode=" + of("versionCode"));
        says(lines, "android.defaultConfig.versionName=" + of("versionName"));
        says(lines, "dependencies.implementation=org.tensorflow:tensorflow-lite:" + of("tflite"));
        says(lines, "dependencies.implementation=org.tensorflow:tensorflow-lite-gpu:" + of("tflite"));
        says(lines, "dependencies.implementation=com.microsoft.onnxruntime:onnxruntime-android:" + of("ort"));
    }

    @Test
    public void theLibrariesAreThePoms() throws IOException {
        List<String> runners = run("runners/build.gradle");
        says(runners, "android.compileSdk=" + of("compileSdk"));
        says(runners, "android.defaultConfig.minSdk=" + of("minSdk"));
        says(runners, "dependencies.compileOnly=org.tensorflow:tensorflow-lite:" + of("tflite"));
        says(runners, "dependencies.compileOnly=com.microsoft.onnxruntime:onnxruntime-android:" + of("ort"));
        List<String> cascade = run("cascade/build.gradle");
        says(cascade, "dependencies.testImplementation=org.jetbrains.kotlin:kotlin-test-junit:" + of("kotlin"));
        List<String> resources = cascade.stream().filter(line -> line.contains("resources")).collect(Collectors.toList());
        assertEquals(resources.toString(), 2, resources.size());
    }
}
