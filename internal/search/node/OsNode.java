import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.opensearch.Version;
import org.opensearch.cluster.service.ClusterService;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.PluginInfo;

/**
 * A single OpenSearch node from the libraries alone, on the loopback. Arguments: the home folder
 * (none: a temporary one) and the port (none: a free one). It prints READY and its address, and
 * ends when its standard input does.
 */
public class OsNode {
  // The classes end in ModulePlugin since version 3, in Plugin before.
  static final String[] MODULES = {
    "org.opensearch.transport.Netty4", "org.opensearch.analysis.common.CommonAnalysis",
    "org.opensearch.index.mapper.MapperExtras"
  };

  static class Embedded extends Node {
    // A collection of classes up to version 3.0, of descriptions since: after erasure the same
    // constructor.
    @SuppressWarnings({"unchecked", "rawtypes"})
    Embedded(Environment env, Collection modules) {
      super(env, modules, true);
    }

    @Override
    protected void configureNodeAndClusterIdStateListener(ClusterService cluster) {
      // It sets up logging, which has none to set up here.
    }
  }

  static Collection<?> modules() throws ClassNotFoundException {
    List<Class<? extends Plugin>> classes = new ArrayList<>();
    List<PluginInfo> infos = new ArrayList<>();
    for (String name : MODULES) {
      boolean three = Version.CURRENT.major >= 3;
      Class<? extends Plugin> c =
          Class.forName(name + (three ? "ModulePlugin" : "Plugin")).asSubclass(Plugin.class);
      classes.add(c);
      infos.add(new PluginInfo(c.getName(), "on the class path", "NA", Version.CURRENT, "17",
          c.getName(), null, List.of(), false));
    }
    return Version.CURRENT.major >= 3 ? infos : classes;
  }

  static Settings settings(Path home, String port) {
    return Settings.builder()
        .put("path.home", home.toString())
        .put("path.data", home.resolve("data").toString())
        .put("path.logs", home.resolve("logs").toString())
        .put("cluster.name", "prelude").put("node.name", "n1").put("discovery.type", "single-node")
        .put("network.host", "127.0.0.1").put("http.port", port).put("transport.port", "0")
        .put("cluster.routing.allocation.disk.threshold_enabled", false)
        .put("node.store.allow_mmap", false)
        // The breaker counts garbage otherwise, of which a small heap has much.
        .put("indices.breaker.total.use_real_memory", false)
        .put("action.auto_create_index", false).build();
  }

  public static void main(String[] args) throws Exception {
    boolean lasting = args.length > 0 && !args[0].isEmpty();
    Path home = lasting
        ? Paths.get(args[0]).toAbsolutePath() : Files.createTempDirectory("prelude-opensearch-");
    for (String folder : List.of("config", "data", "logs", "modules", "plugins")) {
      Files.createDirectories(home.resolve(folder));
    }
    Environment env = InternalSettingsPreparer.prepareEnvironment(
        settings(home, args.length > 1 ? args[1] : "0"), Collections.emptyMap(),
        home.resolve("config"), () -> "n1");
    Node node = new Embedded(env, modules());
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(node, lasting ? null : home)));
    node.start();
    HttpServerTransport http = node.injector().getInstance(HttpServerTransport.class);
    String url = "http://127.0.0.1:" + http.boundAddress().publishAddress().getPort();
    System.out.println("READY " + url);
    System.out.println("export OPENSEARCH_URL=" + url);
    System.out.flush();
    while (System.in.read() >= 0) { }
    System.exit(0);
  }

  static void stop(Node node, Path remove) {
    try {
      node.close();
      node.awaitClose(15, TimeUnit.SECONDS);
      if (remove == null) return;
      try (Stream<Path> all = Files.walk(remove)) {
        for (Path p : all.sorted(Comparator.reverseOrder()).toList()) Files.deleteIfExists(p);
      }
    } catch (IOException | InterruptedException e) {
      System.err.println("stop: " + e);
    }
  }
}
